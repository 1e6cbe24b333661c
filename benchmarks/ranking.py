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
from pathlib import Path

from benchmarks.machine import describe_machine

PARTS = ("latency", "clients", "processes", "overload", "memory", "recommend")
PEERS = ("plain", "bentoml", "ray-serve")
QUICK = {"rounds": 1, "calls": 3, "seconds": 0.5, "items": 1100, "many_items": 2000, "patience": 0.0}


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves by way of what stops the children
    arguments, before = _arguments(), os.getloadavg()[0]
    from benchmarks.ranking_report import report  # loads PyTorch and Feast: after what was mistyped has been told

    print(describe_machine())
    work = f"{arguments.calls} calls or {arguments.seconds:g} s"
    print(f"{arguments.rounds} rounds of {work}; load average before: {before:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for line in report(Path(folder), arguments):
            print(line, flush=True)


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
