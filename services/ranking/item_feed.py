"""Keeps the item cache up to date with the features service's stream of changes."""

from __future__ import annotations

import random
import threading

import structlog

from loreline.client import ClientError, FeaturesClient
from services.ranking.item_cache import ItemCache

log = structlog.get_logger(__name__)


class ItemFeed:
    """Watches in a thread and applies what comes; after a cut it goes on from the last sequence that it saw.

    Pauses between tries grow from `retry_backoff_seconds` to `max_retry_backoff_seconds`, each one random between
    half of it and all of it, so that many replicas do not come back at once.
    """

    def __init__(
        self,
        features: FeaturesClient,
        cache: ItemCache,
        *,
        retry_backoff_seconds: float = 0.1,
        max_retry_backoff_seconds: float = 5.0,
    ) -> None:
        self._features, self._cache = features, cache
        self._backoff, self._max_backoff = retry_backoff_seconds, max_retry_backoff_seconds
        self._sequence, self._failures = 0, 0
        self._caught_up, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="item feed", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more after the stream's next end: close the features client to end it at once."""
        self._stopping.set()

    def caught_up(self) -> bool:
        """Whether everything that was stored at the start is in the cache, and changes are followed."""
        return self._caught_up.is_set() and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch()
            except ClientError as error:
                if not self._stopping.is_set():
                    log.warning("the stream of item changes was cut", sequence=self._sequence, error=str(error))
            self._stopping.wait(self._pause_seconds())

    def _watch(self) -> None:
        for batch in self._features.watch(self._sequence):
            self._cache.apply(batch.items)
            self._sequence, self._failures = batch.sequence, 0
            if batch.caught_up and not self._caught_up.is_set():
                log.info("the item cache has caught up", items=len(self._cache), sequence=self._sequence)
                self._caught_up.set()
            if self._stopping.is_set():
                return

    def _pause_seconds(self) -> float:
        longest = min(self._max_backoff, self._backoff * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(longest / 2, longest)
