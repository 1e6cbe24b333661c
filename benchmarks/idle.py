"""What does the platform cost while nothing happens?

    python -m benchmarks.idle                  # about two minutes
    python -m benchmarks.idle --seconds 20

Starts all six processes as `loreline up` does, with an active model version and some items, leaves them alone, and
tells the processor time that each took, in percent of one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

PROCESSES = ("broker", "knowledge", "embedding", "features", "updater", "ranking")
ITEMS = 100
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTLING_SECONDS = 15.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long they are watched")
    seconds = parser.parse_args().seconds
    if seconds < 1:
        parser.error("--seconds: must be at least 1, for processor time is counted in hundredths")
    from benchmarks.machine import describe_machine

    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        percent = idle_percent(Path(folder), seconds)
    print(f"{seconds:g} s after {SETTLING_SECONDS:g} s of rest\n\n| process | of one core |\n| --- | ---: |")
    for name, share in [*percent.items(), ("**all six**", sum(percent.values()))]:
        print(f"| {name} | {share:.2f}% |")


def idle_percent(home: Path, seconds: float) -> dict[str, float]:
    """Percent of one core that each process takes over an empty home, threads and system calls included."""
    import psutil

    from benchmarks.model_version import promote_random_version
    from benchmarks.streaming_line import DEFAULT_ENCODER, films
    from loreline.client import FeaturesClient
    from loreline.domain import Stamp
    from services.cli.settings import CliSettings
    from services.cli.startup import start_processes
    from services.embedding.encoder_export import exported_encoder
    from services.model_registry import ModelRegistry

    settings = CliSettings(home=home, knowledge_provider="catalogue", preferred_ports=False)
    promote_random_version(ModelRegistry(settings.model_registry), ITEMS, exported_encoder(DEFAULT_ENCODER).name)
    processes = start_processes(settings, PROCESSES, show=False)
    try:
        with FeaturesClient(processes.address("features")) as features:
            features.put_contents([(Stamp(f"e{n}", NOON), film) for n, film in enumerate(films("i", ITEMS))])
        watched = {name: psutil.Process(pid) for name in PROCESSES if (pid := processes.status(name).pid)}
        time.sleep(SETTLING_SECONDS)
        before = {name: sum(process.cpu_times()[:2]) for name, process in watched.items()}
        time.sleep(seconds)
        return {
            name: 100 * (sum(process.cpu_times()[:2]) - before[name]) / seconds for name, process in watched.items()
        }
    finally:
        list(processes.stop())


if __name__ == "__main__":
    main()
