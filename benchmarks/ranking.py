"""What does Rank cost, against the least that it can and against what others do with Feast and Triton?

    python -m benchmarks.ranking                  # about 25 minutes on two cores
    python -m benchmarks.ranking --quick          # smaller numbers, to see that it runs
    python -m benchmarks.ranking --parts latency clients

Starts Redis, features, Triton, ranking and the peers as real processes on free ports, over one catalogue that both
layouts of Feast hold, with a DIN of the shipped config (random weights cost what trained ones cost). That all give the
same scores is checked first. What is compared is measured in turn in every round, so that a busy moment of the
machine meets all of it; the tables give medians over the rounds, and ratios that were taken within a round.

The clients are one process on the same cores. It handles undecoded bytes; its own processor time is in the tables.
BentoML and Ray Serve are installed on first use into environments of their own (1 GB each, in the cache).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ranking_measures as measures
from benchmarks import ranking_memory, ranking_tables
from benchmarks.machine import describe_machine
from benchmarks.ranking_measures import Scale
from benchmarks.ranking_platform import IN_PROCESS, PEERS, SHARED, THROUGH_FEATURES, TRITON, Platform, running_platform
from benchmarks.ranking_platform import peers as started_peers

PARTS = ("latency", "clients", "processes", "overload", "memory", "recommend")
SERVED = PARTS[:4]
QUICK = {"rounds": 1, "calls": 3, "seconds": 0.5, "items": 1100, "many_items": 2000, "patience": 0.0}


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves by way of what stops the children
    arguments, before = _arguments(), os.getloadavg()[0]
    print(describe_machine())
    scale = Scale(arguments.rounds, arguments.calls, arguments.seconds, arguments.patience)
    print(f"{scale.rounds} rounds of {scale.calls} calls or {scale.seconds:g} s; load average before: {before:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for line in _lines(Path(folder), arguments, scale):
            print(line, flush=True)


def _lines(home: Path, arguments: argparse.Namespace, scale: Scale) -> Iterator[str]:
    parts = arguments.parts
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20, help="of each serial client in a round")
    parser.add_argument("--seconds", type=float, default=4, help="how long each load is kept up")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for quiet before each round")
    parser.add_argument("--items", type=int, default=5000, help="of the catalogue in Redis, more than 1,000")
    parser.add_argument("--many-items", type=int, default=1_000_000, help="of the parts memory and recommend")
    parser.add_argument("--quick", action="store_true", help="small numbers, whatever else is given")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    if arguments.items < 1000 or arguments.many_items < 1000:
        parser.error("--items and --many-items: must be at least 1000, which a request may name")
    return arguments


if __name__ == "__main__":
    main()
