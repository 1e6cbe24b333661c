"""Keeps the item cache up to date with the features service's stream of changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from loreline.client import ClientError, FeaturesClient, InvalidArgumentError, WatchBatch
from loreline.domain import PackedItem
from services.runtime.backoff import Backoff

HEARTBEAT_SECONDS = 0.5  # the stream brings something as often
MOST_SILENT_SECONDS = 3.0
log = structlog.get_logger(__name__)


class Follower(Protocol):
    """Whoever keeps something of the items' newest states: the item cache, the index."""

    def apply(self, items: Sequence[PackedItem]) -> None:
        """Take over states in the order in which they were stored; must be quick."""

    def clear(self) -> None:
        """Forget everything: the features service was set up anew, and tells all that it holds."""


class ItemFeed:
    """Watches in a thread and tells the followers; after a cut it goes on from the last sequence that it saw."""

    def __init__(
        self,
        features: FeaturesClient,
        *followers: Follower,
        backoff: Backoff = Backoff(0.1, 5.0),
        max_lag_seconds: float = 1.0,
    ) -> None:
        self._features, self._followers = features, followers
        self._backoff = backoff
        self._sequence, self._epoch, self._failures = 0, "", 0
        self._heard = -float("inf")
        self._max_lag, self._behind_since = max_lag_seconds, float("inf")
        self._caught_up, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="item feed", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more after the stream's next end: close the features client to end it at once."""
        self._stopping.set()

    def caught_up(self) -> bool:
        """Whether everything that was stored at the start is in the cache, and the stream of changes lives."""
        return self._caught_up.is_set() and self._thread.is_alive() and self._silent_seconds() <= MOST_SILENT_SECONDS

    def is_current(self) -> bool:
        """Whether the followers have all that is stored, but for what came in the last `max_lag_seconds`.

        They may lack more when the stream was cut or silent for longer, or sends pages of what it is behind with.
        """
        behind = time.monotonic() - self._behind_since
        return self.caught_up() and max(behind, self._silent_seconds() - HEARTBEAT_SECONDS) <= self._max_lag

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch()
            except InvalidArgumentError as error:  # the features service's store was set back
                log.warning("the stream of item changes starts anew", sequence=self._sequence, error=str(error))
                self._sequence, self._epoch = 0, ""
            except ClientError as error:
                if not self._stopping.is_set():
                    log.warning("the stream of item changes was cut", sequence=self._sequence, error=str(error))
            self._fall_behind()
            self._failures += 1
            self._stopping.wait(self._backoff.pause_seconds(self._failures))

    def _watch(self) -> None:
        for batch in self._features.watch(self._sequence, self._epoch):
            self._tell(batch)
            self._sequence, self._epoch, self._failures = batch.sequence, batch.epoch, 0
            self._heard = time.monotonic()
            if batch.caught_up:
                self._catch_up()
            else:
                self._fall_behind()
            if self._stopping.is_set():
                return

    def _tell(self, batch: WatchBatch) -> None:
        for follower in self._followers:
            if batch.restarted:
                follower.clear()
            if batch.items:
                follower.apply(batch.items)

    def _silent_seconds(self) -> float:
        return time.monotonic() - self._heard

    def _catch_up(self) -> None:
        self._behind_since = float("inf")
        if not self._caught_up.is_set():
            log.info("caught up with the stream of item changes", sequence=self._sequence)
            self._caught_up.set()

    def _fall_behind(self) -> None:
        self._behind_since = min(self._behind_since, time.monotonic())
