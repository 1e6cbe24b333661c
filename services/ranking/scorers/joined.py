"""Joins small requests that come together into one, for a scorer whose cost lies in the call."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from services.ranking.scorers import Scored, Scorer, ScorerInputs
from services.runtime.errors import DeadlineExceeded, PlatformError

MAX_JOINED = 16  # the rendered model's largest batch
MAX_JOINED_CANDIDATES = 256  # of one request: a larger one keeps the scorer busy by itself


@dataclass
class _Batch:
    """Requests of one candidate count that wait to be sent; the first one's thread sends all."""

    requests: list[ScorerInputs] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    full: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    scored: Scored | None = None
    error: Exception | None = None


class JoinedScorer:
    """Sends a request at once while nothing is under way, and otherwise waits `window_seconds` for others to join.

    Only requests of the same number of candidates, one user each, are joined. One that spoils the others has each of
    them scored alone.
    """

    def __init__(self, scorer: Scorer, window_seconds: float = 0.001) -> None:
        self._scorer, self._window = scorer, window_seconds
        self._lock = threading.Lock()
        self._under_way = 0
        self._waiting: dict[int, _Batch] = {}

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer."""
        users, candidates = inputs["item_id"].shape
        with self._lock:
            alone = users != 1 or candidates > MAX_JOINED_CANDIDATES or not self._under_way
            self._under_way += alone
            place, batch = (0, _Batch()) if alone else self._join(candidates, inputs, timeout_seconds)
        if alone:
            return self._send(inputs, timeout_seconds)
        if place == 0:
            self._lead(candidates, batch)
        elif not batch.done.wait(timeout_seconds):
            raise DeadlineExceeded("the joined request was not scored in time")
        return self._answer(batch, place, timeout_seconds)

    def ready(self) -> bool:
        """Whether the scorer is."""
        return self._scorer.ready()

    def _join(self, candidates: int, inputs: ScorerInputs, timeout_seconds: float | None) -> tuple[int, _Batch]:
        batch = self._waiting.setdefault(candidates, _Batch())
        batch.requests.append(inputs)
        batch.timeouts.append(timeout_seconds)
        if len(batch.requests) == MAX_JOINED:
            del self._waiting[candidates]
            batch.full.set()
        return len(batch.requests) - 1, batch

    def _lead(self, candidates: int, batch: _Batch) -> None:
        batch.full.wait(self._window)
        with self._lock:
            if self._waiting.get(candidates) is batch:
                del self._waiting[candidates]
            self._under_way += 1
        timeouts = [timeout for timeout in batch.timeouts if timeout is not None]
        longest = max(timeouts) if len(timeouts) == len(batch.timeouts) else None
        joined = {name: np.concatenate([one[name] for one in batch.requests]) for name in batch.requests[0]}
        try:
            batch.scored = self._send(joined, longest)
        except Exception as error:
            batch.error = error
        finally:
            batch.done.set()

    def _answer(self, batch: _Batch, place: int, timeout_seconds: float | None) -> Scored:
        if batch.scored is not None:
            return Scored(batch.scored.values[place : place + 1], batch.scored.place)
        if type(batch.error) is PlatformError and len(batch.requests) > 1:  # somebody's inputs were refused
            return self._scorer.score(batch.requests[place], timeout_seconds)
        raise batch.error or PlatformError("the joined request has no answer")

    def _send(self, inputs: ScorerInputs, timeout_seconds: float | None) -> Scored:
        try:
            return self._scorer.score(inputs, timeout_seconds)
        finally:
            with self._lock:
                self._under_way -= 1
