"""What does Rank of 200 candidates cost, with and without knowledge, in-process and through Triton?

    python -m benchmarks.rank_latency --rounds 400

Starts a features process and two ranking processes on free ports, over 1,600 items with knowledge and a DIN of the
shipped config (random weights: they cost what trained ones cost). One client calls serially; all variants are called in
turn in every round, so that a busy moment of the machine meets all of them. Timings are the client's; stages are the
service's own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from deploy.triton import local_server
from deploy.triton.render import render
from loreline.client import FeaturesClient, KnowledgeVectors, RankingClient, Stamp, is_serving
from loreline.client.ranking import Ranked
from services.cli.local_processes import free_port
from services.model_registry import Manifest, ModelRegistry, Vocabulary
from services.scenarios import Item, Knowledge, Provenance, load_scenario
from services.trainer.config import read_config
from services.trainer.export import export
from services.trainer.networks import build_knowledge_augmented

ITEMS, CANDIDATES, HISTORY, KNOWLEDGE_WIDTH = 1_600, 200, 50, 384
GENRES = [f"Genre {n}" for n in range(18)]
START_SECONDS = 60.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Rank of 200 candidates: knowledge on and off, in-process and Triton.")
    parser.add_argument("--rounds", type=int, default=400)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variants = _start(Path(folder), stack)
        for call in variants.values():
            for _ in range(20):
                call()
        milliseconds, answers = _measure(variants, rounds)
    _print(milliseconds, answers, rounds)


def _start(home: Path, stack: ExitStack) -> dict[str, Callable[[], Ranked]]:
    registry = ModelRegistry(home / "models")
    _register(registry)
    model_repository = render(registry, home / "triton", "python").parent
    triton = stack.enter_context(_triton(model_repository, home))
    features = stack.enter_context(_process("features", home, FEATURE_DIRECTORY=str(home / "features")))
    _fill(features)
    own = {"FEATURES_ADDRESS": features, "MODEL_REGISTRY": str(registry.root)}
    clients = {
        "in-process": _ranking(stack, home, {**own, "TRITON_ADDRESS": ""}),
        "Triton": _ranking(stack, home, {**own, "TRITON_ADDRESS": triton}),
    }
    candidates = [f"i{n}" for n in np.random.default_rng(0).choice(ITEMS, CANDIDATES, replace=False)]

    def caller(client: RankingClient, knowledge: bool) -> Callable[[], Ranked]:
        return lambda: client.rank("viewer", "movies", candidates, use_knowledge=knowledge)

    return {
        f"{scorer}, knowledge {'on' if knowledge else 'off'}": caller(client, knowledge)
        for scorer, client in clients.items()
        for knowledge in (True, False)
    }


def _ranking(stack: ExitStack, home: Path, variables: dict[str, str]) -> RankingClient:
    address = stack.enter_context(_process("ranking", home, **variables))
    return stack.enter_context(RankingClient(address, timeout_seconds=5))


def _register(registry: ModelRegistry) -> None:
    config, scenario = read_config("din"), load_scenario("movies")
    vocabulary = Vocabulary([f"i{n}" for n in range(ITEMS)], {"genre": GENRES, "decade": ["1980", "1990"]})
    network = build_knowledge_augmented(config, vocabulary, scenario, KNOWLEDGE_WIDTH)
    registry.root.mkdir(parents=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    hashes = export(network, files, config.history_length, len(vocabulary.fields))
    vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version="1",
        scenario="movies",
        backbone=config.backbone,
        created_time=NOW,
        encoder="random",
        knowledge_dimension=KNOWLEDGE_WIDTH,
        augmented_dimension=config.embedding_width,
        history_length=config.history_length,
        item_fields=list(vocabulary.fields),
        metrics={},
        data_hash="",
        file_hashes=hashes,
    )
    registry.register(manifest, files)
    registry.promote("1")


def _fill(address: str) -> None:
    random = np.random.default_rng(1)
    width = read_config("din").embedding_width
    with FeaturesClient(address, timeout_seconds=60) as features:
        for start in range(0, ITEMS, 400):
            page = range(start, start + 400)
            stamps = [Stamp(f"e{n}", NOW) for n in page]
            items = [Item(f"i{n}", "movies", f"Film {n}", {"genres": [GENRES[n % 18]], "year": 1985.0}) for n in page]
            features.put_contents(list(zip(stamps, items, strict=True)))
            writes = [(stamp, item.item_id, _vectors(random, width)) for stamp, item in zip(stamps, items, strict=True)]
            features.put_knowledge(writes)
        past = [f"i{n}" for n in range(HISTORY)]
        features.put_user_history("viewer", Stamp("h", NOW), past, [4.0] * HISTORY, list(range(HISTORY)))
        features.put_user_knowledge("viewer", Stamp("k", NOW), _vectors(random, width))


def _vectors(random: np.random.Generator, width: int) -> KnowledgeVectors:
    provenance = Provenance(
        key="k",
        provider="catalogue",
        model="none",
        scenario="movies",
        prompt_version=1,
        factors=(),
        prompt_tokens=0,
        completion_tokens=0,
        finish_reason="stop",
        created_time=NOW,
        parameters_json="{}",
    )
    vector, augmented = (random.normal(size=size).astype(np.float32) for size in (KNOWLEDGE_WIDTH, width))
    return KnowledgeVectors(Knowledge("A film.", provenance), "random", vector, "1", augmented)


def _measure(
    variants: dict[str, Callable[[], Ranked]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Ranked]]]:
    milliseconds: dict[str, list[float]] = {name: [] for name in variants}
    answers: dict[str, list[Ranked]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            began = time.perf_counter()
            answers[name].append(call())
            milliseconds[name].append((time.perf_counter() - began) * 1000)
    return milliseconds, answers


def _print(milliseconds: dict[str, list[float]], answers: dict[str, list[Ranked]], rounds: int) -> None:
    base = float(np.median(milliseconds["in-process, knowledge off"]))
    print(f"Rank of {CANDIDATES} candidates, history {HISTORY}, {rounds} rounds, one serial client")
    print(describe_machine())
    print(f"{'variant':28} {'p50 ms':>7} {'p95 ms':>7} {'ratio':>6}   service: user, items, score, total (p50 ms)")
    for name, values in milliseconds.items():
        stages = [
            float(np.median([answer.timings_ms[stage] for answer in answers[name]]))
            for stage in ("user_read", "item_read", "score", "total")
        ]
        p50, p95 = np.percentile(values, [50, 95])
        print(f"{name:28} {p50:7.2f} {p95:7.2f} {p50 / base:6.2f}   {', '.join(f'{stage:.2f}' for stage in stages)}")
    print("ratio: p50 against in-process with knowledge off")


@contextmanager
def _process(name: str, home: Path, **variables: str) -> Iterator[str]:
    address = f"127.0.0.1:{free_port(0)}"
    own = {f"LORELINE_{name.upper()}_{key}": value for key, value in variables.items()}
    environment = os.environ | own | {f"LORELINE_{name.upper()}_LISTEN_ADDRESS": address}
    with (home / f"{name}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_serving(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{(home / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _triton(model_repository: Path, home: Path) -> Iterator[str]:
    environment, taken = local_server.install(), set[int]()
    http, grpc, metrics = (free_port(0, taken) for _ in range(3))
    line = local_server.command(environment, model_repository, http, grpc, metrics)
    with (home / "triton.log").open("wb") as log:
        server = subprocess.Popen(
            line, env=local_server.server_environment(environment), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        local_server.wait_until_ready(f"127.0.0.1:{grpc}", server)
        yield f"127.0.0.1:{grpc}"
    finally:
        local_server.stop(server)


if __name__ == "__main__":
    main()
