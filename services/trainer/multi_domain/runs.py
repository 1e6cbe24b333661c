"""One whole run over several domains: training, the test part, and what is registered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from services.model_registry import ModelRegistry
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.datasets.domains import remarks
from services.trainer.multi_domain.config import STUDENT, UNICTR, MultiDomainConfig
from services.trainer.multi_domain.distillation import distil
from services.trainer.multi_domain.domain_data import DomainData, gather
from services.trainer.multi_domain.evaluation import DomainMetrics, domain_metrics, mean_auc
from services.trainer.multi_domain.experiments import DomainTrial, trial_of
from services.trainer.multi_domain.learners import PromptLearner
from services.trainer.multi_domain.loop import fit
from services.trainer.multi_domain.networks import stored_with_domain
from services.trainer.multi_domain.registration import (
    register_uni_ctr,
    register_with_domain,
)
from services.trainer.multi_domain.stored_versions import StoredVersion
from services.trainer.multi_domain.student_registration import register_student
from services.trainer.multi_domain.training import EVERY, Fitted, facts_of, prepare, train_network
from services.trainer.training.config import InvalidConfig
from services.trainer.training.run import SILENT, RunObserver


@dataclass(frozen=True)
class DomainReport:
    """What a run came to: the version, each domain's test metrics and the head that gave them, and sizes in samples.

    `remarks` are what a reader of the figures has to know of the data. `teacher` is the version a student learnt from,
    whose metrics on the same test part are in `teacher_domains`.
    """

    version: str
    domains: DomainMetrics
    heads: dict[str, str]
    parts: dict[str, dict[str, int]]
    facts: dict[str, float | str]
    remarks: list[str]
    teacher: str = ""
    teacher_domains: DomainMetrics | None = None


def train_domains(
    dataset: MultiDomainDataset,
    directory: Path,
    registry: ModelRegistry,
    config: MultiDomainConfig,
    observer: RunObserver = SILENT,
) -> DomainReport:
    """Train a unictr network or its student, and register it as the next version.

    Raises InvalidConfig, also for a baseline, which is only compared; EmptySplit, KnowledgeNotLoaded for a student,
    NoSuchVersion for its teacher, ExportMismatch.
    """
    data = prepare(dataset, config)
    if config.network == STUDENT:
        return _train_student(dataset, data, directory, registry, config, observer)
    if config.network != UNICTR:
        raise InvalidConfig(
            f"network: {config.network} is a baseline, which `loreline evaluate` compares; none is served"
        )
    if not config.general:
        raise InvalidConfig("general: must be true for a network that is to rank: it serves all other scenarios")
    observer.stage(f"training {config.network} on {', '.join(data.trained)}")
    fitted = train_network(dataset, data, config, observer)
    observer.stage("scoring the test part, exporting, registering")
    trial, _ = trial_of(config.network, config, fitted)
    learner = fitted.learners[EVERY]
    assert isinstance(learner, PromptLearner)
    version = register_uni_ctr(learner, data, config, registry, manifest_metrics(trial.domains))
    return _report(version, trial, data, dataset)


def add_domain(
    dataset: MultiDomainDataset, registry: ModelRegistry, version: str, name: str, observer: RunObserver = SILENT
) -> DomainReport:
    """Train a network for one more domain over a stored version, all else frozen, and register it as the next version.

    Raises InvalidConfig, EmptySplit, NoSuchVersion, ExportMismatch.
    """
    stored = StoredVersion.read(registry, version)
    if name in stored.manifest.scenarios:
        raise InvalidConfig(f"version {version} has a network of {name!r} already")
    if name not in dataset.domains:
        raise InvalidConfig(f"the loaded dataset has no domain {name!r}; it has: {', '.join(dataset.domains)}")
    config = stored.config.model_copy(update={"domains": (name,), "left_out": (), "added": ""})
    data = gather(dataset, config)
    observer.stage(f"training a network of {name} over version {version}")
    learner, started = stored_with_domain(stored, data, name), perf_counter()
    epochs = fit(
        learner,
        data,
        data.split.training,
        data.split.validation,
        config,
        name,
        observer,
    )
    observer.stage("scoring the test part, exporting, registering")
    fitted = Fitted(data, {EVERY: learner}, epochs, perf_counter() - started, facts=facts_of({EVERY: learner}))
    trial, _ = trial_of(UNICTR, config, fitted)
    metrics = {key: value for key, value in manifest_metrics(trial.domains).items() if key.endswith(name)}
    number = register_with_domain(stored, learner, data, name, registry, metrics)
    return _report(number, trial, data, dataset)


def manifest_metrics(domains: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metrics of the test part as a manifest has them: the mean AUC, and each domain's AUC and LogLoss."""
    kept = ("auc", "logloss")
    named = {f"{key} {name}": values[key] for name, values in domains.items() for key in kept if key in values}
    return {"auc": mean_auc(domains), **named}


def _train_student(
    dataset: MultiDomainDataset,
    data: DomainData,
    directory: Path,
    registry: ModelRegistry,
    config: MultiDomainConfig,
    observer: RunObserver,
) -> DomainReport:
    started = perf_counter()
    learner, encoder, epochs = distil(data, config, directory, registry, observer)
    observer.stage("scoring the test part, exporting, registering")
    fitted = Fitted(data, {EVERY: learner}, epochs, perf_counter() - started, facts=facts_of({EVERY: learner}))
    trial, _ = trial_of(config.network, config, fitted)
    version = register_student(learner, config, encoder, registry, manifest_metrics(trial.domains))
    teacher = learner.teaching.version
    taught = _teachers_metrics(StoredVersion.read(registry, teacher), data)
    return replace(_report(version, trial, data, dataset), teacher=teacher, teacher_domains=taught)


def _teachers_metrics(stored: StoredVersion, data: DomainData) -> DomainMetrics:
    own, _ = stored.logits(data, data.split.test.row)
    return domain_metrics(data, data.split.test, own.astype(np.float64))


def _report(version: str, trial: DomainTrial, data: DomainData, dataset: MultiDomainDataset) -> DomainReport:
    split = data.split
    parts = {
        name: {
            title: len(data.of(part, [name]))
            for title, part in (("training", split.training), ("validation", split.validation), ("test", split.test))
        }
        for name in data.domains
    }
    return DomainReport(version, trial.domains, trial.heads, parts, trial.facts, remarks(dataset))
