"""How tests wait: for a condition, never for a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from loreline.client import is_serving

LONG_SECONDS = 120.0  # holds on a machine ten times slower
PAUSE_SECONDS = 0.02


def wait_until(
    condition: Callable[[], object],
    seconds: float = LONG_SECONDS,
    what: str | Callable[[], str] = "the condition",
) -> None:
    """Wait for what happens in another thread or process; a failed assertion says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen in {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(PAUSE_SECONDS)


def wait_until_serving(address: str, process: subprocess.Popen[Any], service: str = "readiness") -> None:
    """Wait until a process says SERVING of a health service name; fails with its last words once it has ended."""
    wait_until(lambda: process.poll() is not None or is_serving(address, service), what=f"{service} of {address}")
    if process.poll() is not None:
        raise AssertionError(f"ended with {process.returncode}: {process.stderr.read() if process.stderr else ''}")
