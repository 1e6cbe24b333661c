"""Compares networks of several domains over seeds, and keeps every finished trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.ctr.uni_ctr.network import GENERAL
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.samples import Samples
from services.trainer.evaluation.metrics import relative_improvement, sliced
from services.trainer.evaluation.significance import Difference, RankedScores, paired_bootstrap
from services.trainer.multi_domain.config import UNICTR, MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.evaluation import Floats, probability
from services.trainer.multi_domain.training import Fitted, prepare, train_network
from services.trainer.training.run import SILENT, RunObserver


@dataclass(frozen=True)
class DomainTrial:
    """One trained network on the test part.

    `domains` hold AUC, LogLoss and `samples`; `heads` say which head scored each: its own, or for a left-out domain the
    general network, or the best of a baseline's heads, whose AUCs are in `zero_shot`.
    """

    label: str
    network: str
    seed: int
    domains: dict[str, dict[str, float]]
    heads: dict[str, str]
    zero_shot: dict[str, dict[str, float]]
    epochs: int
    seconds: float
    samples_per_second: float
    facts: dict[str, float | str]


@dataclass(frozen=True)
class DomainFigures:
    """One domain under one config: means and standard deviations over seeds, and the reference against it.

    `rela_impr` is how much more AUC above 0.5 the reference has, `difference` its AUC minus this one, by bootstrap.
    Both are None of the reference itself, `rela_impr` also where this one is not above 0.5: it compares with that.
    """

    samples: int
    positives: float
    heads: list[str]
    auc: float
    auc_deviation: float
    logloss: float
    logloss_deviation: float
    rela_impr: float | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class DomainComparison:
    """One config over seeds, each domain by its name; `reference` is the label of what RelaImpr is of."""

    label: str
    network: str
    seeds: int
    reference: str
    domains: dict[str, DomainFigures]
    mean_auc: float
    seconds: float
    facts: dict[str, float | str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """Trials over one dataset, kept in a folder."""

    dataset: MultiDomainDataset
    folder: Path
    observer: RunObserver = SILENT

    def compare(self, wanted: Mapping[str, MultiDomainConfig], seeds: int) -> list[DomainComparison]:
        """Train what is missing, and compare all with the reference: the first unictr config, else the first.

        Domains are compared where both have them. Raises InvalidConfig, EmptySplit, ValueError for no seeds.
        """
        if seeds < 1:
            raise ValueError("seeds: give at least one")
        runs = {label: self._run(label, config, seeds) for label, config in wanted.items()}
        reference = next((label for label, config in wanted.items() if config.network == UNICTR), next(iter(wanted)))
        return [run.against(runs[reference]) for run in runs.values()]

    def _run(self, label: str, config: MultiDomainConfig, seeds: int) -> _Run:
        data = prepare(self.dataset, config)
        numbers = range(config.seed, config.seed + seeds)
        found = [self._trial(label, data, config.model_copy(update={"seed": seed})) for seed in numbers]
        return _Run(label, data, [trial for trial, _ in found], [logits for _, logits in found])

    def _trial(self, label: str, data: DomainData, config: MultiDomainConfig) -> tuple[DomainTrial, Floats]:
        path = self.folder / "trials" / f"{trial_name(config, data)[:24]}.json"
        if not path.exists():
            self.observer.stage(f"{label}, seed {config.seed}")
            fitted = train_network(self.dataset, data, config, self.observer)
            trial, logits = trial_of(label, config, fitted)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path.with_suffix(".npy"), logits.astype(np.float32))
            path.write_text(json.dumps(asdict(trial), indent=1), encoding="utf-8")
        return DomainTrial(**json.loads(path.read_text(encoding="utf-8"))), np.load(path.with_suffix(".npy"))


@dataclass(frozen=True)
class _Run:
    """A config's trials, one a seed, and their logits (N,) of the test part; NaN where no head was there."""

    label: str
    data: DomainData
    trials: list[DomainTrial]
    logits: list[Floats]

    def against(self, reference: _Run) -> DomainComparison:
        figures = {name: self._figures(name, reference) for name in self.trials[0].domains}
        return DomainComparison(
            label=self.label,
            network=self.trials[0].network,
            seeds=len(self.trials),
            reference=reference.label,
            domains=figures,
            mean_auc=float(np.mean([one.auc for one in figures.values()])),
            seconds=float(np.mean([trial.seconds for trial in self.trials])),
            facts=self.trials[0].facts,
            note=self.data.note,
        )

    def _figures(self, name: str, reference: _Run) -> DomainFigures:
        found = [trial.domains[name] for trial in self.trials]
        auc, logloss = ([metrics[key] for metrics in found] for key in ("auc", "logloss"))
        test = self.data.of(self.data.split.test, [name])
        mean = float(np.mean(auc))
        compared = self.label != reference.label and name in reference.trials[0].domains
        best = float(np.mean([trial.domains[name]["auc"] for trial in reference.trials])) if compared else 0.0
        return DomainFigures(
            samples=len(test),
            positives=float(test.label.mean()),
            heads=list(dict.fromkeys(trial.heads[name] for trial in self.trials)),
            auc=mean,
            auc_deviation=float(np.std(auc)),
            logloss=float(np.mean(logloss)),
            logloss_deviation=float(np.std(logloss)),
            rela_impr=relative_improvement(best, mean) if compared and mean > 0.5 else None,
            difference=self._difference(name, reference) if compared else None,
        )

    def _difference(self, name: str, reference: _Run) -> Difference:
        samples, chosen = self._test_of(name)
        own, other = (run.ranked(name) for run in (self, reference))
        return paired_bootstrap(self.data.log.user[samples.row[chosen]], own, other)

    def ranked(self, name: str) -> list[Callable[[Floats], float]]:
        """The AUC of a domain as a function of sample weights, one a seed."""
        samples, chosen = self._test_of(name)
        label = samples.label[chosen, 0]
        return [RankedScores(label, logits[chosen].astype(np.float64)).auc for logits in self.logits]

    def _test_of(self, name: str) -> tuple[Samples, npt.NDArray[np.bool_]]:
        """The test part, and which of its samples are of a domain."""
        samples = self.data.split.test
        return samples, self.data.domain_of(samples) == self.data.domains.index(name)


def trial_of(label: str, config: MultiDomainConfig, fitted: Fitted) -> tuple[DomainTrial, Floats]:
    """The trial of a trained network, and its logits (N,) of the test part."""
    data, test = fitted.data, fitted.data.split.test
    logits, domain = np.full(len(test), np.nan), data.domain_of(test)
    heads: dict[str, str] = {}
    zero_shot: dict[str, dict[str, float]] = {}
    for code, name in enumerate(data.domains):
        samples = data.of(test, [name])
        if name in fitted.heads:
            heads[name], found = "own", fitted.logits(samples, name)
        elif fitted.added:
            continue
        else:
            heads[name], found, zero_shot[name] = _unseen(fitted, samples)
        logits[domain == code] = found
    measured = {name: domain == data.domains.index(name) for name in heads}
    trial = DomainTrial(
        label=label,
        network=config.network,
        seed=config.seed,
        domains=sliced(test.label[:, 0], probability(np.nan_to_num(logits)), measured),
        heads=heads,
        zero_shot=zero_shot,
        epochs=len(fitted.epochs),
        seconds=fitted.seconds,
        samples_per_second=float(np.median([epoch.samples_per_second for epoch in fitted.epochs])),
        facts=fitted.facts,
    )
    return trial, logits


def trial_name(config: MultiDomainConfig, data: DomainData) -> str:
    """A hash of all that decides what a trial comes to: config and data."""
    return hashlib.sha256(f"{config.model_dump_json(exclude_defaults=True)} {data.data_hash}".encode()).hexdigest()


def _unseen(fitted: Fitted, samples: Samples) -> tuple[str, Floats, dict[str, float]]:
    """The general network's logits, or those of the head whose AUC is best, and every head's AUC.

    Choosing by the test part favours the baselines, as arXiv 2312.10743 allows them.
    """
    logits = {head: fitted.logits(samples, head) for head in fitted.heads}
    even, label = np.ones(len(samples)), samples.label[:, 0]
    aucs = {head: RankedScores(label, values).auc(even) for head, values in logits.items()}
    head = GENERAL if GENERAL in logits else max(aucs, key=lambda name: aucs[name])
    return head, logits[head], aucs
