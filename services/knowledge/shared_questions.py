"""Sees to it that a question asked by several calls at once is put to the model by one of them only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")


class SharedQuestions(Generic[R]):
    """Keys that are being worked on. A future gives the result, or None when its owner gave up. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[R | None]] = {}

    def claim(self, keys: Iterable[str]) -> tuple[dict[str, Future[R | None]], dict[str, Future[R | None]]]:
        """(keys that the caller must now work on, keys that others work on), each with its future."""
        owned: dict[str, Future[R | None]] = {}
        foreign: dict[str, Future[R | None]] = {}
        with self._lock:
            for key in keys:
                if key in self._running:
                    foreign[key] = self._running[key]
                else:
                    owned[key] = self._running[key] = Future()
        return owned, foreign

    def resolve(self, key: str, owned: Mapping[str, Future[R | None]], result: R | None) -> None:
        """Give the result of an owned key to all who wait for it; a second call changes nothing."""
        with self._lock:
            if owned[key].done():
                return
            self._running.pop(key)
            owned[key].set_result(result)

    def release(self, owned: Mapping[str, Future[R | None]]) -> None:
        """Give up what has no result yet, so that those who wait can work on it themselves."""
        for key in owned:
            self.resolve(key, owned, None)
