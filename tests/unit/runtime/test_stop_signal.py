"""A process that is told to stop, whatever its main thread does at the moment."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TAKEN_BY_ANOTHER_THREAD = """
sleeper = threading.Thread(target=lambda: time.sleep(1000), daemon=True)
sleeper.start()
threading.Thread(target=lambda: signal.pthread_kill(sleeper.ident, number)).start()
stop.wait()
"""
BEFORE_THE_WAIT = """
os.kill(os.getpid(), number)
stop.wait()
"""
MANY = """
for _ in range(100_000):
    os.kill(os.getpid(), number)
stop.wait()
"""
OF_ITS_OWN_ACCORD = """
threading.Thread(target=stop.stop).start()
stop.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("script", [TAKEN_BY_ANOTHER_THREAD, BEFORE_THE_WAIT, MANY, OF_ITS_OWN_ACCORD])
def test_the_wait_ends(script: str, number: signal.Signals) -> None:
    """An event that the handler sets is not woken in the first case."""
    head = (
        "import os, signal, threading, time\n"
        "from services.runtime.stop_signal import StopSignal\n"
        f"number, stop = signal.{number.name}, StopSignal()\n"
    )
    done = subprocess.run([sys.executable, "-c", head + script + "print('stopped')"], capture_output=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, b"stopped\n"), done.stderr
