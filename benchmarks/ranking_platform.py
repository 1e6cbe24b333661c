"""What benchmarks/ranking.py measures: one catalogue in one Redis, and all that ranks it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load_driver import LoadGenerator, Result, load_generator
from benchmarks.load_generator import Load, write_requests
from benchmarks.model_version import promote_random_version
from benchmarks.plain_path import write_store
from benchmarks.ranking_catalogue import (
    Catalogue,
    fill,
    item_table,
    json_requests,
    questions,
    rank_requests,
    user_table,
)
from benchmarks.ranking_floor import Lookups
from benchmarks.ranking_processes import NotStarted, Processes, Target
from deploy.python_environments import InstallFailed
from deploy.triton.render import render
from loreline.ranking.v1 import ranking_pb2
from services.model_registry import ModelRegistry
from services.trainer.training.config import read_config

SIZES = (50, 200, 1000)
PEER_WORKERS = 2
TOLERANCE = 1e-4
IN_PROCESS, THROUGH_FEATURES = "Loreline, in-process", "Loreline, user read through features"
TRITON, SHARED = "Loreline, Triton", "Loreline, Triton, shared memory"


@dataclass(frozen=True)
class Platform:
    """Redis with the catalogue in both layouts, features, Triton and the load generator; the rest is started on it."""

    processes: Processes
    catalogue: Catalogue
    registry: ModelRegistry
    features: Target
    triton: tuple[str, int]
    generator: LoadGenerator
    plain_folder: Path

    def ranking(self, label: str, processes: int = 1, direct: bool = True, **settings: str) -> Target:
        """A ranking process of ours, which reads users from Redis or, not direct, through features."""
        own = {
            "FEATURES_ADDRESS": self.features.url.split("/")[2],
            "MODEL_REGISTRY": str(self.registry.root),
            "REDIS_CONNECTION": self.processes.redis if direct else "",
            "PROCESSES": str(processes),
            "LOG_LEVEL": "WARNING",
            **settings,
        }
        found = self.processes.service("ranking", own, label)
        helpers = [self.features.own_pid] + ([self.triton[1]] if settings.get("TRITON_ADDRESS") else [])
        return Target(found.name, found.url, found.own_pid, (*found.pids, *helpers))

    def triton_ranking(self, label: str, processes: int = 1, shared_memory: bool = False) -> Target:
        """One that scores in Triton."""
        own = {"TRITON_ADDRESS": self.triton[0], "TRITON_SHARED_MEMORY": str(shared_memory).lower()}
        return self.ranking(label, processes, **own)

    def peer(self, name: str) -> Target:
        """A peer, with a worker for each of two cores. Raises InstallFailed, NotStarted."""
        if name == "plain":
            return self.processes.plain(self.plain_folder, self.triton)
        start = self.processes.bentoml if name == "bentoml" else self.processes.ray_serve
        return start(self.plain_folder, PEER_WORKERS)

    def lookups(self) -> Lookups:
        """The floor's lookups over this catalogue."""
        return Lookups.of(self.processes.redis, self.catalogue.item_vectors)

    def requests(self, target: Target, candidates: int, use_knowledge: bool = True) -> str:
        """The file of encoded requests for a target."""
        path = self.processes.home / f"{'rank' if target.is_ours else 'json'}-{candidates}-{use_knowledge}"
        if path.exists():
            return str(path)
        asked = questions(self.catalogue, candidates)
        return write_requests(path, rank_requests(asked, use_knowledge) if target.is_ours else json_requests(asked))

    def load(self, target: Target, candidates: int, *, use_knowledge: bool = True, **load: float) -> Result:
        """Put a load on a target; `load` are fields of benchmarks.load_generator.Load."""
        path = self.requests(target, candidates, use_knowledge)
        return self.generator.run(Load(target.url, path, **load))  # type: ignore[arg-type]

    def check(self, targets: Sequence[Target]) -> None:
        """Each target gives the same scores to the same question; else the comparison would be of different things."""
        expected = _scores(targets[0], self.load(targets[0], 50, calls=1))
        for target in targets[1:]:
            found = _scores(target, self.load(target, 50, calls=1))
            if found.keys() != expected.keys():
                raise SystemExit(f"{target.name} ranks other items than {targets[0].name}")
            furthest = max(abs(found[item_id] - score) for item_id, score in expected.items())
            if furthest > TOLERANCE:
                raise SystemExit(f"{target.name} gives scores that differ by {furthest:.2g} from {targets[0].name}'s")


@contextmanager
def running_platform(home: Path, items: int) -> Iterator[Platform]:
    """Everything that the targets share."""
    registry, plain = ModelRegistry(home / "models"), home / "plain"
    promote_random_version(registry, items)
    catalogue = Catalogue.random(items, read_config("din").embedding_width)
    with ExitStack() as stack:
        generator = stack.enter_context(load_generator())
        processes = Processes(home, stack)
        render(registry, home / "triton", "python")
        triton = processes.triton(home / "triton")
        own = {"FEATURE_DIRECTORY": str(home / "features"), "ONLINE_STORE": "redis"}
        features = processes.service("features", own)
        say(f"filling both stores with {items:,} items")
        fill(features.url.split("/")[2], catalogue)
        plain.mkdir()
        write_store(plain, processes.redis, item_table(catalogue, registry.vocabulary("1")), user_table(catalogue))
        shutil.copyfile(registry.folder("1") / "scorer.onnx", plain / "scorer.onnx")
        yield Platform(processes, catalogue, registry, features, triton, generator, plain)


def peers(platform: Platform, names: Sequence[str]) -> tuple[list[Target], dict[str, str]]:
    """The peers that could be installed and started, and why the others could not."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(platform.peer(name))
        except (InstallFailed, NotStarted) as error:
            missing[name] = " ".join(str(error).split())[-200:]
            say(str(error))
    return found, missing


def say(text: str) -> None:
    """Tell on standard error how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def _scores(target: Target, result: Result) -> dict[str, float]:
    if not result.answered:
        raise SystemExit(f"{target.name} does not answer: {result.outcomes}")
    if target.is_ours:
        response = ranking_pb2.RankResponse.FromString(result.answer)
        item_ids, scores = response.item_ids, response.scores
    else:
        found = json.loads(result.answer)
        item_ids, scores = found["item_ids"], found["scores"]
    if not np.isfinite(list(scores)).all():
        raise SystemExit(f"{target.name} gives scores that are no finite numbers")
    return dict(zip(item_ids, scores, strict=True))
