"""One process a core behind one command: workers that share a port, and a supervisor that keeps them running.

The supervisor starts the command that it was started with again, once for each worker, with the worker's number in
LORELINE_WORKER_NUMBER. The kernel spreads connections, not calls, over the workers.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from services.runtime.process_settings import refuse_to_start
from services.runtime.server import ServerOptions
from services.runtime.shared_port import PortUnavailable, reserve_port
from services.runtime.stop_signal import StopSignal
from services.runtime.worker import WORKER_VARIABLE, stop_with_supervisor, worker_number

log = structlog.get_logger(__name__)
WRONG_SETTINGS = 2  # the exit code of refuse_to_start
STOPPED = (0, -signal.SIGTERM)  # the second: told to stop before it could listen to that


@dataclass(frozen=True)
class SupervisorPolicy:
    """When a worker that ended is started again: after a pause that doubles with its failures in a row, with jitter.

    An end is a failure unless the worker has served for `settled_seconds`. After `most_failures` in a row, while no
    other worker serves, the supervisor gives up. Told to stop, a worker has the time to drain and `close_seconds` more
    before it is killed.
    """

    settled_seconds: float = 10.0
    most_failures: int = 5
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 10.0
    close_seconds: float = 5.0

    def pause_seconds(self, failures: int) -> float:
        """A random pause, half to all of the first one doubled with every failure after the first."""
        longest = self.first_pause_seconds * 2.0 ** min(max(0, failures - 1), 30)
        return random.uniform(0.5, 1) * min(longest, self.longest_pause_seconds)


def run_processes(options: ServerOptions, work: Callable[[], None], policy: SupervisorPolicy | None = None) -> None:
    """Run `work`, which serves by `options`, in `options.processes` processes; returns when it has ended.

    With one process `work` runs here. With more, this process becomes the supervisor and exits with 0 when every
    worker was drained after SIGTERM or SIGINT, with 2 when the port cannot be had or a worker refuses its settings,
    and with 1 when it gave up or a worker had to be killed. Must run in the main thread.
    """
    if worker_number() is not None:
        stop_with_supervisor()
    elif options.processes > 1:
        _supervise(options, policy or SupervisorPolicy())
    work()


def _supervise(options: ServerOptions, policy: SupervisorPolicy) -> None:
    try:
        held = reserve_port(options.listen_address)
    except PortUnavailable as error:
        refuse_to_start(str(error))
    with held:
        sys.exit(Supervisor([sys.executable, *sys.orig_argv[1:]], options, policy).run())


class _Worker:
    """A running worker; `served_since` is on the monotonic clock, None until it serves."""

    def __init__(self, command: Sequence[str], number: int) -> None:
        self.served_since: float | None = None
        self._line, line = socket.socketpair()
        with line:
            # a group of its own: an interrupt from a terminal comes to the supervisor alone, which drains in order
            environment = os.environ | {WORKER_VARIABLE: str(number)}
            self.process = subprocess.Popen(command, env=environment, stdin=line.fileno(), process_group=0)

    def wait(self) -> int:
        """Wait until it has ended; returns its exit code."""
        with self._line:
            if self._line.recv(1):
                self.served_since = time.monotonic()
            return self.process.wait()

    def has_served(self, seconds: float) -> bool:
        """Whether it has served for so long."""
        return self.served_since is not None and time.monotonic() - self.served_since >= seconds


class Supervisor:
    """Keeps `options.processes` workers that run `command`; a thread each waits for its end and starts it again.

    Must be made in the main thread.
    """

    def __init__(self, command: Sequence[str], options: ServerOptions, policy: SupervisorPolicy) -> None:
        self._command, self._options, self._policy = list(command), options, policy
        self._lock = threading.Lock()
        self._stop, self._stopping = StopSignal(), threading.Event()
        self._running: dict[int, _Worker] = {}
        self._exit_code = 0

    def run(self) -> int:
        """Start the workers, keep them until a signal comes or it must give up, drain them; returns the exit code."""
        keepers = [threading.Thread(target=self._keep, args=[number]) for number in range(self._options.processes)]
        for keeper in keepers:
            keeper.start()
        self._stop.wait()
        self._stopping.set()
        self._drain(keepers)
        return self._exit_code

    def _keep(self, number: int) -> None:
        failures = 0
        while (worker := self._start(number)) is not None:
            code = worker.wait()
            failures = 0 if worker.has_served(self._policy.settled_seconds) else failures + 1
            self._take_leave(number, code, failures)
            self._stopping.wait(self._policy.pause_seconds(failures))

    def _start(self, number: int) -> _Worker | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            worker = self._running[number] = _Worker(self._command, number)
        log.info("worker started", number=number, pid=worker.process.pid)
        return worker

    def _take_leave(self, number: int, code: int, failures: int) -> None:
        with self._lock:
            pid = self._running.pop(number).process.pid
            stopping, others_serve = self._stopping.is_set(), any(w.has_served(0) for w in self._running.values())
            if stopping and code not in STOPPED:
                self._exit_code = self._exit_code or 1
        tell = log.info if stopping else log.error
        tell("worker ended", number=number, pid=pid, code=code)
        hopeless = code == WRONG_SETTINGS or failures >= self._policy.most_failures
        if hopeless and not stopping and not others_serve:
            self._give_up(code, failures)

    def _give_up(self, code: int, failures: int) -> None:
        self._exit_code = WRONG_SETTINGS if code == WRONG_SETTINGS else 1
        log.error("giving up: no worker stays", failures=failures, code=code)
        self._stopping.set()
        self._stop.stop()

    def _drain(self, keepers: Sequence[threading.Thread]) -> None:
        deadline = time.monotonic() + self._options.drain_seconds + self._policy.close_seconds
        self._signal_workers(signal.SIGTERM)
        for keeper in keepers:
            keeper.join(max(0.0, deadline - time.monotonic()))
        self._signal_workers(signal.SIGKILL)
        for keeper in keepers:
            keeper.join()

    def _signal_workers(self, signal_number: signal.Signals) -> None:
        with self._lock:
            for number, worker in self._running.items():
                log.info("worker signalled", number=number, pid=worker.process.pid, signal=signal_number.name)
                worker.process.send_signal(signal_number)
