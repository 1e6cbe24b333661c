"""Liveness and readiness by the standard gRPC health service.

Service names that can be asked for:

- `` (empty) and `liveness`: the process answers.
- `readiness` and every service of the process: every dependency answers.
- `dependency/NAME`: that one dependency answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer

Check = Callable[[], bool]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
log = structlog.get_logger(__name__)


class HealthMonitor:
    """Runs the dependency checks every `interval_seconds` in a thread and keeps the health service up to date.

    A check returns whether its dependency answers, must end by itself within a few seconds, and counts as failed
    when it raises.
    """

    def __init__(self, checks: Mapping[str, Check], services: Sequence[str], interval_seconds: float = 1.0) -> None:
        self.servicer = HealthServicer()
        self._checks, self._services, self._interval = dict(checks), list(services), interval_seconds
        self._failing: frozenset[str] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Check once, publish the result, and go on in the background."""
        for name in ("", "liveness"):
            self.servicer.set(name, SERVING)
        self._check_all()
        self._thread.start()

    def stop(self) -> None:
        """Publish NOT_SERVING for everything, for good."""
        self._stopped.set()
        self.servicer.enter_graceful_shutdown()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._check_all()

    def _check_all(self) -> None:
        failing = frozenset(name for name, check in self._checks.items() if not _answers(check))
        if self._stopped.is_set():
            return
        for name in self._checks:
            self.servicer.set(f"dependency/{name}", NOT_SERVING if name in failing else SERVING)
        for name in ("readiness", *self._services):
            self.servicer.set(name, NOT_SERVING if failing else SERVING)
        if failing != self._failing:
            log.info("readiness", ready=not failing, failing=sorted(failing))
        self._failing = failing


def _answers(check: Check) -> bool:
    try:
        return check()
    except Exception as error:
        log.debug("dependency check failed", error=repr(error))
        return False
