"""The load generator's process, as a benchmark uses it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO

import numpy as np

from benchmarks.load_generator import Load


@dataclass(frozen=True)
class Result:
    """What a load came to; times in milliseconds, of the calls that were answered."""

    milliseconds: list[float]
    outcomes: dict[str, int]
    seconds: float
    cpu_seconds: float  # of the load generator
    late_ms: float
    answer: bytes

    @property
    def answered(self) -> int:
        """How many calls were answered."""
        return self.outcomes.get("OK", 0)

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return sum(self.outcomes.values())

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def percentile(self, percent: float) -> float:
        """Milliseconds; NaN when nothing was answered."""
        return float(np.percentile(self.milliseconds, percent)) if self.milliseconds else float("nan")

    def share(self, outcome: str) -> float:
        """Of all calls."""
        return self.outcomes.get(outcome, 0) / max(1, self.calls)


class LoadGenerator:
    """Runs one load at a time."""

    def __init__(self, commands: IO[str], answers: IO[str], pid: int) -> None:
        self._commands, self._answers, self.pid = commands, answers, pid

    def run(self, load: Load) -> Result:
        """Put the load on its target, and wait until it is done. Ends the benchmark when the generator has died."""
        self._commands.write(json.dumps(asdict(load)) + "\n")
        self._commands.flush()
        line = self._answers.readline()
        if not line:
            raise SystemExit(f"the load generator ended in {load}")
        found = json.loads(line)
        return Result(answer=base64.b64decode(found.pop("last")), **found)


@contextmanager
def load_generator() -> Iterator[LoadGenerator]:
    """A load generator in a process of its own while the block runs."""
    line = [sys.executable, "-m", "benchmarks.load_generator"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield LoadGenerator(process.stdin, process.stdout, process.pid)
        process.stdin.close()
