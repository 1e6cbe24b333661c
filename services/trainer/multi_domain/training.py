"""Trains one network of a config: on all its domains, on each by itself, and with a domain that comes later."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.samples import Samples
from services.trainer.multi_domain.config import SINGLE_DOMAIN, STUDENT, MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData, gather
from services.trainer.multi_domain.learners import OWN, Learner, PromptLearner, scores
from services.trainer.multi_domain.loop import fit
from services.trainer.multi_domain.networks import build, unchanged, with_domain
from services.trainer.training.config import InvalidConfig
from services.trainer.training.loop import Epoch
from services.trainer.training.run import SILENT, RunObserver

EVERY = "all domains"


@dataclass(frozen=True)
class Fitted:
    """A trained network; of a single-domain one a network for each domain, by name, else one under EVERY."""

    data: DomainData
    learners: Mapping[str, Learner]
    epochs: list[Epoch]
    seconds: float
    added: str = ""
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads that may score any sample."""
        whole = self.learners.get(EVERY)
        return whole.heads if whole else tuple(self.learners)

    def logits(self, samples: Samples, head: str) -> npt.NDArray[np.float64]:
        """(N,) logits of samples by one head."""
        whole = self.learners.get(EVERY)
        return scores(whole, samples, head) if whole else scores(self.learners[head], samples, OWN)


def prepare(dataset: MultiDomainDataset, config: MultiDomainConfig) -> DomainData:
    """The data of a config's whole run. Raises InvalidConfig, EmptySplit."""
    return gather(dataset, config, config.left_out)


def train_network(
    dataset: MultiDomainDataset, data: DomainData, config: MultiDomainConfig, observer: RunObserver = SILENT
) -> Fitted:
    """Train on what `prepare` made. Raises InvalidConfig, EmptySplit."""
    started = perf_counter()
    if config.network == STUDENT:
        raise InvalidConfig("network: a student learns from a registered version: `loreline train` tells how it does")
    if config.added:
        return _with_addition(dataset, data, config, observer, started)
    learners, epochs = _train(data, config, observer)
    return Fitted(data, learners, epochs, perf_counter() - started, facts=facts_of(learners))


def _train(
    data: DomainData, config: MultiDomainConfig, observer: RunObserver
) -> tuple[dict[str, Learner], list[Epoch]]:
    learners: dict[str, Learner] = {}
    epochs: list[Epoch] = []
    alone = config.network in SINGLE_DOMAIN
    for name in data.trained if alone else (EVERY,):
        domains = (name,) if alone else data.trained
        own = _only(data, domains) if alone else data
        learners[name] = build(own, config, domains)
        epochs += _fit(learners[name], own, config, f"{config.network}, {name}", observer, domains)
    return learners, epochs


def _with_addition(
    dataset: MultiDomainDataset, data: DomainData, config: MultiDomainConfig, observer: RunObserver, started: float
) -> Fitted:
    if config.network in SINGLE_DOMAIN:  # its others are not needed for it
        alone = _only(data, (config.added,))
        learner = build(alone, config, (config.added,))
        epochs = _fit(learner, alone, config, f"{config.network}, {config.added}", observer, (config.added,))
        learners = {config.added: learner}
        return Fitted(alone, learners, epochs, perf_counter() - started, config.added, facts_of(learners))
    before = gather(dataset, config, (*config.left_out, config.added))
    learners, epochs = _train(before, config, observer)
    old = learners[EVERY]
    if isinstance(old, PromptLearner):  # it grows in place
        old = replace(old, network=copy.deepcopy(old.network))
    grown = with_domain(learners[EVERY], data, config, config.added)
    undecayed = config.model_copy(update={"weight_decay": 0.0})  # it would shrink rows of tables that must stay
    added = _fit(grown, data, undecayed, f"{config.network}, added {config.added}", observer, (config.added,))
    if not unchanged(old, grown, before):
        raise InvalidConfig(f"added: {config.network} cannot grow with the rest unchanged; of ple set levels: 1")
    learners = {EVERY: grown}
    return Fitted(data, learners, [*epochs, *added], perf_counter() - started, config.added, facts_of(learners))


def _only(data: DomainData, domains: tuple[str, ...]) -> DomainData:
    """The data with training and validation samples of some domains alone."""
    split = data.split
    training, validation = (data.of(part, domains) for part in (split.training, split.validation))
    return replace(data, trained=domains, split=replace(split, training=training, validation=validation))


def _fit(
    learner: Learner,
    data: DomainData,
    config: MultiDomainConfig,
    name: str,
    observer: RunObserver,
    domains: tuple[str, ...],
) -> list[Epoch]:
    return fit(
        learner,
        data,
        data.of(data.split.training, domains),
        data.of(data.split.validation, domains),
        config,
        name,
        observer,
    )


def facts_of(learners: Mapping[str, Learner]) -> dict[str, float | str]:
    """What is to be told of the networks: how many weights, and how the language model began."""
    networks = [learner.network for learner in learners.values()]
    facts: dict[str, float | str] = {
        "parameters": float(sum(p.numel() for network in networks for p in network.parameters()))
    }
    whole = learners.get(EVERY)
    if isinstance(whole, PromptLearner):
        facts |= {
            "language_model": whole.origin,
            "history_cut": whole.table.history_cut,
            "candidate_cut": whole.table.candidate_cut,
        }
    return facts
