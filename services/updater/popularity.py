"""How often items were acted on lately, as far as this process has seen it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable


class Popularity:
    """Counts that halve every `half_life_seconds`, of at most `capacity` items. Safe to share between threads.

    Where there are more, the item that was acted on longest ago is forgotten.
    """

    def __init__(self, capacity: int, half_life_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity, self._half_life, self._clock = capacity, half_life_seconds, clock
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()  # count and its time, the latest last
        self._lock = threading.Lock()

    def count(self, item_ids: Iterable[str]) -> None:
        """Each of the items was acted on once now."""
        now = self._clock()
        with self._lock:
            for item_id in item_ids:
                self._counts[item_id] = (self._at(item_id, now) + 1.0, now)
                self._counts.move_to_end(item_id)
            while len(self._counts) > self._capacity:
                self._counts.popitem(last=False)

    def of(self, item_id: str) -> float:
        """The item's count as of now; 0 of an item that is not known."""
        with self._lock:
            return self._at(item_id, self._clock())

    def _at(self, item_id: str, now: float) -> float:
        count, then = self._counts.get(item_id, (0.0, now))
        return float(count * 0.5 ** ((now - then) / self._half_life))
