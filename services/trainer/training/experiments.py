"""Compares configs with knowledge off and on over several seeds, and keeps every finished trial.

A trial that was finished before, with the same config and data, is read and not trained again: an interrupted
comparison goes on where it ended, and a new config joins an old table for its own price alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from services.trainer.data.knowledge_rows import AskedKnowledge
from services.trainer.data.samples import popularity
from services.trainer.evaluation.metrics import relative_improvement, sliced
from services.trainer.evaluation.significance import Difference, paired_bootstrap
from services.trainer.training.config import TrainingConfig
from services.trainer.training.loop import best_epoch
from services.trainer.training.networks import scores
from services.trainer.training.run import RunObserver, TrainingData, run_name, train_network

COLD_ITEM = 10  # fewer training samples than this
COLD_USER = 20  # fewer known interactions than this
KNOWLEDGE_FIELDS = (
    "adaptor",
    "adaptor_sides",
    "adaptor_dropout",
    "shared_experts",
    "dedicated_experts",
    "knowledge_dropout",
)


@dataclass(frozen=True)
class Trial:
    """One trained network on the test part: its metrics, those of slices, and what it took."""

    label: str
    backbone: str
    knowledge: bool
    seed: int
    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]
    epochs: int
    best_epoch: int
    seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class Comparison:
    """One config without and with knowledge: means and standard deviations over seeds, and how sure the gain is.

    `lift` is the relative gain of the metric that `decides`, `rela_impr` that of AUC above 0.5. `slices` hold mean AUC
    off and on, and how many test samples they have; a slice without both labels is left out. `knowledge` tells what the
    vectors cost in questions.
    """

    label: str
    seeds: int
    off: dict[str, float]
    off_deviation: dict[str, float]
    on: dict[str, float]
    on_deviation: dict[str, float]
    decides: str
    lift: float
    rela_impr: float | None
    difference: Difference
    knowledge: AskedKnowledge
    slices: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Trials over the same data, kept in a folder."""

    data: TrainingData
    folder: Path
    observer: RunObserver = field(default_factory=RunObserver)

    def compare(self, label: str, config: TrainingConfig, seeds: Sequence[int]) -> Comparison:
        """Train what is missing of a config's trials, and compare. Raises InvalidConfig, ValueError for no seeds."""
        if not seeds:
            raise ValueError("seeds: give at least one")
        pairs = [[self._trial(label, config, seed, knowledge) for knowledge in (False, True)] for seed in seeds]
        off, on = ([pair[side][0] for pair in pairs] for side in (0, 1))
        test, objective = self.data.split.test, self.data.objective
        ranked = [[objective.weighted(test, score) for _, score in pair] for pair in pairs]
        difference = paired_bootstrap(
            self.data.log.user[test.row], [side[0] for side in ranked], [side[1] for side in ranked]
        )
        mean_off, mean_on = _over(np.mean, off), _over(np.mean, on)
        return Comparison(
            label=label,
            seeds=len(seeds),
            off=mean_off,
            off_deviation=_over(np.std, off),
            on=mean_on,
            on_deviation=_over(np.std, on),
            decides=objective.decides,
            lift=mean_on[objective.decides] / mean_off[objective.decides] - 1,
            rela_impr=relative_improvement(mean_on["auc"], mean_off["auc"]) if "auc" in mean_on else None,
            difference=difference,
            knowledge=self.data.asked,
            slices=_slices(off, on),
        )

    def _trial(
        self, label: str, config: TrainingConfig, seed: int, knowledge: bool
    ) -> tuple[Trial, npt.NDArray[np.float64]]:
        seeded = config.model_copy(update={"seed": seed} | ({} if knowledge else _defaults(KNOWLEDGE_FIELDS)))
        path = self.folder / "trials" / f"{run_name(seeded, self.data, knowledge)[:24]}.json"
        if not path.exists():
            self.observer.stage(f"{label}, seed {seed}, knowledge {'on' if knowledge else 'off'}")
            self._train(label, seeded, knowledge, path)
        return Trial(**json.loads(path.read_text())), np.load(path.with_suffix(".npy")).astype(np.float64)

    def _train(self, label: str, config: TrainingConfig, knowledge: bool, path: Path) -> None:
        started = perf_counter()
        name = "on" if knowledge else "off"
        network, epochs = train_network(self.data, config, knowledge, None, name, self.observer)
        seconds, test = perf_counter() - started, self.data.split.test
        probability = scores(network, test, self.data.batches(config.history_length))
        trial = Trial(
            label=label,
            backbone=config.backbone,
            knowledge=knowledge,
            seed=config.seed,
            metrics=self.data.objective.measure(test, probability),
            slices=self._sliced(probability) if config.task == "click-through" else {},
            epochs=len(epochs),
            best_epoch=best_epoch(epochs, self.data.objective.decides).number,
            seconds=seconds,
            samples_per_second=float(np.median([epoch.samples_per_second for epoch in epochs])),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), probability.astype(np.float32))
        path.write_text(json.dumps(asdict(trial), indent=1))

    def _sliced(self, probability: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
        log, test = self.data.log, self.data.split.test
        seen = popularity(self.data.split.training, len(self.data.items.index))[test.item[:, 0]]
        known = log.known_end[test.row] - log.user_start[log.user[test.row]]
        slices = {
            f"items with fewer than {COLD_ITEM} training samples": seen < COLD_ITEM,
            f"users with fewer than {COLD_USER} known interactions": known < COLD_USER,
        }
        return sliced(test.label[:, 0], probability[:, 0], slices)


def _over(statistic: Any, trials: Sequence[Trial]) -> dict[str, float]:
    return {name: float(statistic([trial.metrics[name] for trial in trials])) for name in trials[0].metrics}


def _slices(off: Sequence[Trial], on: Sequence[Trial]) -> dict[str, dict[str, float]]:
    found = {}
    for name, first in off[0].slices.items():
        if "auc" in first:
            means = {
                side: float(np.mean([t.slices[name]["auc"] for t in trials]))
                for side, trials in (("off", off), ("on", on))
            }
            found[name] = {"samples": first["samples"], **means}
    return found


def _defaults(names: Sequence[str]) -> dict[str, Any]:
    """Values that a network without knowledge never reads, so that its trials serve every ablation."""
    fixed: dict[str, Any] = {"shared_experts": 1, "dedicated_experts": 1, "knowledge_dropout": 0.0}
    return {name: fixed.get(name, TrainingConfig.model_fields[name].default) for name in names}
