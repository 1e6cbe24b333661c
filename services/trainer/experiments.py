"""Compares configs with knowledge off and on over several seeds, and keeps every finished trial.

A trial that was finished before, with the same config and data, is read and not trained again: an interrupted
comparison goes on where it ended, and a new config joins an old table for its own price alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from services.trainer.config import AnyModel, InvalidConfig, TrainingConfig
from services.trainer.evaluation import relative_improvement, scores, sliced
from services.trainer.loop import best_epoch
from services.trainer.offline_store import AskedKnowledge
from services.trainer.samples import popularity
from services.trainer.significance import Difference, paired_bootstrap
from services.trainer.training import Material, Watcher, run_name, train_network

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
    """Trials over one material, kept in a folder."""

    material: Material
    folder: Path
    watcher: Watcher = field(default_factory=Watcher)

    def compare(self, label: str, config: TrainingConfig, seeds: Sequence[int]) -> Comparison:
        """Train what is missing of a config's trials, and compare. Raises InvalidConfig, ValueError for no seeds."""
        if not seeds:
            raise ValueError("seeds: give at least one")
        pairs = [[self._trial(label, config, seed, knowledge) for knowledge in (False, True)] for seed in seeds]
        off, on = ([pair[side][0] for pair in pairs] for side in (0, 1))
        test, objective = self.material.split.test, self.material.objective
        ranked = [[objective.weighted(test, score) for _, score in pair] for pair in pairs]
        difference = paired_bootstrap(
            self.material.columns.user[test.row], [side[0] for side in ranked], [side[1] for side in ranked]
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
            knowledge=self.material.asked,
            slices=_slices(off, on),
        )

    def _trial(
        self, label: str, config: TrainingConfig, seed: int, knowledge: bool
    ) -> tuple[Trial, npt.NDArray[np.float64]]:
        seeded = config.model_copy(update={"seed": seed} | ({} if knowledge else _defaults(KNOWLEDGE_FIELDS)))
        path = self.folder / "trials" / f"{run_name(seeded, self.material, knowledge)[:24]}.json"
        if not path.exists():
            self.watcher.stage(f"{label}, seed {seed}, knowledge {'on' if knowledge else 'off'}")
            self._train(label, seeded, knowledge, path)
        return Trial(**json.loads(path.read_text())), np.load(path.with_suffix(".npy")).astype(np.float64)

    def _train(self, label: str, config: TrainingConfig, knowledge: bool, path: Path) -> None:
        started = perf_counter()
        name = "on" if knowledge else "off"
        network, epochs = train_network(self.material, config, knowledge, None, name, self.watcher)
        seconds, test = perf_counter() - started, self.material.split.test
        probability = scores(network, test, self.material.lookup(config.history_length))
        trial = Trial(
            label=label,
            backbone=config.backbone,
            knowledge=knowledge,
            seed=config.seed,
            metrics=self.material.objective.measure(test, probability),
            slices=self._sliced(probability) if config.task == "click-through" else {},
            epochs=len(epochs),
            best_epoch=best_epoch(epochs, self.material.objective.decides).number,
            seconds=seconds,
            samples_per_second=float(np.median([epoch.samples_per_second for epoch in epochs])),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), probability.astype(np.float32))
        path.write_text(json.dumps(asdict(trial), indent=1))

    def _sliced(self, probability: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
        columns, test = self.material.columns, self.material.split.test
        seen = popularity(self.material.split.training, len(self.material.items.index))[test.item[:, 0]]
        known = columns.known_end[test.row] - columns.user_start[columns.user[test.row]]
        slices = {
            f"items with fewer than {COLD_ITEM} training samples": seen < COLD_ITEM,
            f"users with fewer than {COLD_USER} known interactions": known < COLD_USER,
        }
        return sliced(test.label[:, 0], probability[:, 0], slices)


def varied(config: AnyModel, variations: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, AnyModel]]:
    """Every combination of some fields' values, named by them. Raises InvalidConfig naming the field."""
    for values in itertools.product(*variations.values()):
        chosen = dict(zip(variations, values, strict=True))
        try:
            changed = type(config).model_validate(config.model_dump() | chosen)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise InvalidConfig(faults) from error
        yield ", ".join(f"{name} {value}" for name, value in chosen.items()), changed


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
