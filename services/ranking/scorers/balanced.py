"""Spreads requests over several endpoints that hold the same version, and leaves alone those that fail."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from services.ranking.scorers import Scored, Scorer, ScorerInputs
from services.runtime.backoff import Backoff
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable

TIMEOUTS_TO_FAIL = 3  # in a row: one may be the caller's, who gave too little time
log = structlog.get_logger(__name__)


class _Endpoint:
    def __init__(self, address: str, scorer: Scorer) -> None:
        self.address, self.scorer = address, scorer
        self.healthy, self.outstanding, self.timeouts = True, 0, 0


class BalancedScorer:
    """Asks the healthy endpoint with the fewest requests under way; a failed request is tried once on another.

    An endpoint that does not answer gets no more requests until a probe in the background finds it ready.
    """

    def __init__(self, scorers: Mapping[str, Scorer], backoff: Backoff = Backoff(0.1, 5.0)) -> None:
        self._endpoints = [_Endpoint(address, scorer) for address, scorer in scorers.items()]
        self._backoff = backoff
        self._lock = threading.Lock()

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer; DependencyUnavailable at once while no endpoint is healthy."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        first = self._pick(None)
        other_is_healthy = any(other.healthy for other in self._endpoints if other is not first)
        try:
            # a hanging endpoint must leave time for the other one
            share = timeout_seconds if timeout_seconds is None or not other_is_healthy else timeout_seconds / 2
            return self._ask(first, inputs, share)
        except (DependencyUnavailable, DeadlineExceeded) as error:
            left = None if deadline is None else deadline - time.monotonic()
            if not other_is_healthy or (left is not None and left <= 0):
                raise
            log.info("the request is tried on another endpoint", address=first.address, error=str(error))
        return self._ask(self._pick(first), inputs, left)

    def ready(self) -> bool:
        """Whether a request can be scored at any endpoint now."""
        return any(endpoint.healthy and endpoint.scorer.ready() for endpoint in self._endpoints)

    def healthy(self) -> list[str]:
        """Addresses that get requests now."""
        return [endpoint.address for endpoint in self._endpoints if endpoint.healthy]

    def _pick(self, avoided: _Endpoint | None) -> _Endpoint:
        with self._lock:
            healthy = [endpoint for endpoint in self._endpoints if endpoint.healthy and endpoint is not avoided]
            if not healthy:
                addresses = ", ".join(endpoint.address for endpoint in self._endpoints)
                raise DependencyUnavailable("triton", f"no endpoint is healthy of {addresses}")
            fewest = min(endpoint.outstanding for endpoint in healthy)
            return random.choice([endpoint for endpoint in healthy if endpoint.outstanding == fewest])

    def _ask(self, endpoint: _Endpoint, inputs: ScorerInputs, timeout_seconds: float | None) -> Scored:
        with self._under_way(endpoint):
            try:
                scored = endpoint.scorer.score(inputs, timeout_seconds)
            except DependencyUnavailable:
                self._leave_alone(endpoint)
                raise
            except DeadlineExceeded:
                endpoint.timeouts += 1
                if endpoint.timeouts >= TIMEOUTS_TO_FAIL:
                    self._leave_alone(endpoint)
                raise
            endpoint.timeouts = 0
            return scored

    @contextmanager
    def _under_way(self, endpoint: _Endpoint) -> Iterator[None]:
        with self._lock:
            endpoint.outstanding += 1
        try:
            yield
        finally:
            with self._lock:
                endpoint.outstanding -= 1

    def _leave_alone(self, endpoint: _Endpoint) -> None:
        with self._lock:
            if not endpoint.healthy:
                return
            endpoint.healthy = False
        log.warning("an endpoint is left alone", address=endpoint.address)
        arguments = (weakref.ref(self), endpoint, self._backoff)
        threading.Thread(target=_probe, args=arguments, name="triton probe", daemon=True).start()


def _probe(owner: weakref.ref[BalancedScorer], endpoint: _Endpoint, backoff: Backoff) -> None:
    """Wait until the endpoint is ready, or nobody asks for its version any more."""
    tries = 0
    while owner() is not None:
        tries += 1
        time.sleep(backoff.pause_seconds(tries))
        if endpoint.scorer.ready():
            endpoint.timeouts, endpoint.healthy = 0, True
            log.info("an endpoint is back", address=endpoint.address)
            return
