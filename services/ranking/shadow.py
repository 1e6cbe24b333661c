"""Lets another version score requests unseen, off the response's path, and compares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import Full, Queue
from typing import Protocol

import structlog

from services.ranking.active_model import Assigned
from services.ranking.agreement import Agreement, agreement
from services.ranking.queries import RankedList, RankQuery

Rank = Callable[[RankQuery], RankedList]
_Job = tuple[RankQuery, RankedList]
log = structlog.get_logger(__name__)


class ShadowMetrics(Protocol):
    """Who is told how shadow and served lists compare."""

    def compared(self, served: RankedList, shadow: RankedList, found: Agreement | None, /) -> None:
        """A request was scored by both; None: they have too few items in common."""

    def shadow_lost(self, outcome: str, /) -> None:
        """A request was `dropped`, because the queue was full, or `failed`."""


class Shadow:
    """Ranks again, with the version pinned, in one thread behind a queue of `capacity`; what does not fit is dropped.

    The user is read again: what came in between shows in both versions' next requests alike.
    """

    def __init__(self, metrics: ShadowMetrics, capacity: int = 64, timeout_seconds: float = 1.0) -> None:
        self._metrics, self._timeout_seconds = metrics, timeout_seconds
        self._queue: Queue[_Job | None] = Queue(capacity)
        self._thread: threading.Thread | None = None

    def start(self, rank: Rank) -> None:
        """Begin to work, by a function that ranks and tells no shadow of it."""
        self._thread = threading.Thread(target=self._run, args=(rank,), name="shadow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after what is being scored."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put(None)
        if self._thread:
            self._thread.join(timeout=self._timeout_seconds)

    def failed(self, error: Exception) -> None:
        """A request that was not served is not compared."""

    def ranked(self, query: RankQuery, assigned: Assigned, served: RankedList) -> None:
        """Have the assigned shadow, if there is one, score the request that was served. Never waits."""
        if assigned.shadow is None:
            return
        moment = int(time.time()) if query.request_time is None else query.request_time
        again = replace(
            query,
            request_time=moment,
            model_version=assigned.shadow,
            use_knowledge=query.use_knowledge and assigned.use_knowledge,
            top_k=0,
            explain=False,
            timeout_seconds=self._timeout_seconds,
            queued_ms=0.0,
            is_active=lambda: True,
        )
        try:
            self._queue.put_nowait((again, served))
        except Full:
            self._metrics.shadow_lost("dropped")

    def _run(self, rank: Rank) -> None:
        while (job := self._queue.get()) is not None:
            query, served = job
            try:
                shadow = rank(query)
                found = agreement(served.item_ids, served.scores, shadow.item_ids, shadow.scores)
                self._metrics.compared(served, shadow, found)
            except Exception as error:  # whatever a shadow does must not end the comparison of the next request
                self._metrics.shadow_lost("failed")
                log.warning("the shadow could not score", model_version=query.model_version, error=str(error))
