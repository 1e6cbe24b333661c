"""The parts of `python -m benchmarks.ranking`, measured and told as lines of Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ranking_measures as measures
from benchmarks import ranking_memory, ranking_tables
from benchmarks.ranking_measures import Scale
from benchmarks.ranking_platform import IN_PROCESS, SHARED, THROUGH_FEATURES, TRITON, Platform, running_platform
from benchmarks.ranking_platform import peers as started_peers

SERVED = ("latency", "clients", "processes", "overload")  # these need the platform


def report(home: Path, arguments: argparse.Namespace) -> Iterator[str]:
    """Measure what the arguments of benchmarks.ranking name, over files in `home`; each line as soon as it is known."""
    parts, scale = arguments.parts, Scale(arguments.rounds, arguments.calls, arguments.seconds, arguments.patience)
    if "memory" in parts:
        yield from ranking_tables.memory(ranking_memory.cache_bytes(arguments.many_items), arguments.many_items)
    if "recommend" in parts:
        found = ranking_memory.recommend(home, arguments.many_items, scale.seconds)
        yield from ranking_tables.recommend(found, arguments.many_items)
    if not set(parts) & set(SERVED):
        return
    with running_platform(home, arguments.items) as platform:
        if "processes" in parts or "overload" in parts:
            yield from _alone(platform, parts, scale)
        if "latency" in parts or "clients" in parts:
            yield from _compared(platform, arguments, scale)


def _alone(platform: Platform, parts: list[str], scale: Scale) -> Iterator[str]:
    """Ours before the peers run: idle ones take time of the cores as well."""
    one, two = platform.ranking(IN_PROCESS), platform.ranking(f"{IN_PROCESS}, 2 processes", 2)
    platform.check([one, two])
    if "processes" in parts:
        yield from ranking_tables.processes(measures.processes(platform, one, two, scale))
    if "overload" in parts:
        yield from ranking_tables.overload(measures.overload(platform, one, scale))


def _compared(platform: Platform, arguments: argparse.Namespace, scale: Scale) -> Iterator[str]:
    peers, missing = started_peers(platform, arguments.peers)
    yield from (f"not measured: {name}: {reason}" for name, reason in missing.items())
    if "latency" in arguments.parts:
        ours = [platform.ranking(IN_PROCESS), platform.ranking(THROUGH_FEATURES, direct=False)]
        ours += [platform.triton_ranking(TRITON), platform.triton_ranking(SHARED, shared_memory=True)]
        platform.check([*ours, *peers])
        found = measures.latency(platform, [platform.processes.hop(), *ours, *peers], scale)
        yield from ranking_tables.latency(found, [target.name for target in [*ours, *peers]])
    if "clients" in arguments.parts:
        pair = [platform.ranking(f"{IN_PROCESS}, 2 processes", 2), platform.triton_ranking(f"{TRITON}, 2 processes", 2)]
        platform.check([*pair, *peers])
        yield from ranking_tables.clients(measures.clients(platform, [*pair, *peers], scale))
