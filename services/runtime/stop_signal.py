"""Waits for the signal that ends a process, and cannot miss it."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress


class StopSignal:
    """SIGTERM or SIGINT from now on, or `stop`. Must be made, and waited for, in the main thread; one a process.

    An Event that a handler sets will not do. Python runs handlers in the main thread alone, between two of its steps: a
    signal that another thread takes, or that comes just before the main thread goes to sleep, is not seen until that
    wakes up, which is never; and one that comes while the event's own lock is held waits for itself. What is read here
    is written by Python's C code in whatever thread the signal comes to.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # Python writes for signals that have a handler alone

    def stop(self) -> None:
        """Let `wait` return, from any thread."""
        with suppress(BlockingIOError):  # it is full of what says the same
            self._writer.send(b"\0")

    def wait(self) -> None:
        """Return once there was a signal or a stop."""
        self._reader.recv(1)
