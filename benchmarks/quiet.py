"""How much of the processor others used while something was measured, and a wait until they use little."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

QUIET_CORES = 0.2  # used by others
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far: of the whole machine, and of this process with all its descendants."""

    moment: float
    machine: float
    own: float

    @classmethod
    def now(cls) -> Usage:
        """As it is at this moment."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return cls(time.monotonic(), sum(times[:8]) - idle, _own_seconds())

    def others_cores(self) -> float:
        """Cores that other processes have kept busy since, on average."""
        now = Usage.now()
        used = (now.machine - self.machine) - (now.own - self.own)
        return max(0.0, used / max(1e-9, now.moment - self.moment))


def wait_until_quiet(patience_seconds: float) -> None:
    """Return when others keep less than QUIET_CORES cores busy, or the patience is at its end."""
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        usage = Usage.now()
        time.sleep(SAMPLE_SECONDS)
        if usage.others_cores() < QUIET_CORES:
            return


def _own_seconds() -> float:
    seconds, own = 0.0, psutil.Process(os.getpid())
    for process in [own, *own.children(recursive=True)]:
        try:
            seconds += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue  # it ended; its parent has its time
    return seconds
