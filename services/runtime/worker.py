"""What a worker process knows of its supervisor: its number, and the line between the two on standard input."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

WORKER_VARIABLE = "LORELINE_WORKER_NUMBER"
LINE = 0  # standard input, in a worker one end of a pair of sockets


def worker_number() -> int | None:
    """0 and up in a worker that a supervisor started, None in a process that stands alone."""
    number = os.environ.get(WORKER_VARIABLE, "")
    return int(number) if number.isdecimal() else None


def tell_serving() -> None:
    """Tell the supervisor, if there is one, that this process serves."""
    if worker_number() is not None:
        with suppress(OSError):  # the supervisor is gone, and the watch on it ends this process
            os.write(LINE, b"s")


def stop_with_supervisor() -> None:
    """Stop this worker when its supervisor is gone, however it went: the other end of the line closes with it."""

    def wait() -> None:
        os.read(LINE, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()
