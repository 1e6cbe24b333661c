"""Memory of ranking's cache and index, and Recommend over a catalogue of real size, for benchmarks/ranking.py."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.item_cache_memory import bytes_per_item
from benchmarks.load_driver import Result, load_generator
from benchmarks.load_generator import Load, write_requests
from benchmarks.million_items import index_measures
from benchmarks.model_version import promote_random_version
from benchmarks.ranking_platform import say
from benchmarks.ranking_processes import RUN, Processes, rss_bytes
from loreline.client import is_serving
from loreline.ranking.v1 import ranking_pb2
from services.cli.local_processes import free_port
from services.model_registry import ModelRegistry

Value = TypeVar("Value")
COUNT, USERS, RECOMMEND_CLIENTS = 20, 64, (1, 8)
READY_SECONDS = 1800.0


@dataclass(frozen=True)
class Recommended:
    """Recommend(20) over a whole catalogue, and what a ranking process with an index needs for it.

    `index` is what benchmarks.million_items.index_measures tells; `loads` are by the number of clients.
    """

    index: dict[str, float]
    ready_seconds: float
    rss_bytes: int
    stages: dict[str, float]
    loads: dict[int, Result]


def cache_bytes(items: int) -> dict[int, float]:
    """Bytes an item of the cache with the vectors of one model version and of two."""
    return {versions: _apart(bytes_per_item, items, versions) for versions in (1, 2)}


def recommend(home: Path, items: int, seconds: float) -> Recommended:
    """Build the index alone, then start a ranking process over made-up items, and ask it."""
    say(f"building an index of {items:,} vectors")
    index, registry = _apart(index_measures, items), ModelRegistry(home / "many-models")
    promote_random_version(registry, items)
    with ExitStack() as stack:
        generator, processes = stack.enter_context(load_generator()), Processes(home, stack)
        features = _features(processes, items)
        own = {"FEATURES_ADDRESS": features, "MODEL_REGISTRY": str(registry.root), "INDEX": "hnsw"}
        began = time.monotonic()
        target = processes.service("ranking", own, "recommend", READY_SECONDS)
        ready = time.monotonic() - began
        requests = write_requests(home / "recommend", _requests())
        url = target.url.replace("/Rank", "/Recommend")
        stages = _stages(generator.run(Load(url, requests, calls=30)).answer)
        loads = {
            count: generator.run(Load(url, requests, clients=count, seconds=seconds, warm=2))
            for count in RECOMMEND_CLIENTS
        }
        return Recommended(index, ready, rss_bytes(target.own_pid), stages, loads)


def _features(processes: Processes, items: int) -> str:
    port = free_port(0)
    line = [*RUN, "benchmarks.million_items", "--items", str(items), "--port", str(port)]
    processes.run("many-items", line, {}, lambda: is_serving(f"127.0.0.1:{port}"))
    return f"127.0.0.1:{port}"


def _requests() -> list[bytes]:
    asked = [ranking_pb2.RecommendRequest(user_id=f"u{n}", scenario="movies", count=COUNT) for n in range(USERS)]
    return [request.SerializeToString() for request in asked]


def _stages(answer: bytes) -> dict[str, float]:
    response = ranking_pb2.RecommendResponse.FromString(answer)
    if response.query != ranking_pb2.RETRIEVAL_QUERY_HISTORY or len(response.ranked.item_ids) != COUNT:
        raise SystemExit(
            f"Recommend gave {len(response.ranked.item_ids)} items, expected {COUNT} near to the history's"
        )
    return {stage.name.removesuffix("_ms"): value for stage, value in response.ranked.timings.ListFields()}


def _apart(measure: Callable[..., Value], *arguments: int) -> Value:
    """Run in a process of its own, whose memory nothing else has grown."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()
