"""What the users of late have liked: whom nothing is known of is shown that first."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence

USERS = 10_000  # whose likes are counted


class Popularity:
    """Counts the liked items of the last `users` users, each user once. Kept in memory alone. Safe to share."""

    def __init__(self, users: int = USERS) -> None:
        self._users = users
        self._likes: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()  # by scenario and user
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def note(self, scenario: str, user_id: str, item_ids: Sequence[str]) -> None:
        """A user who liked these items was here."""
        with self._lock:
            self._forget((scenario, user_id))
            self._likes[scenario, user_id] = tuple(item_ids)
            self._counts[scenario].update(item_ids)
            if len(self._likes) > self._users:
                self._forget(next(iter(self._likes)))

    def most(self, scenario: str, count: int) -> list[str]:
        """At most `count` ids, liked by most first."""
        with self._lock:
            return [item_id for item_id, _ in self._counts[scenario].most_common(count)]

    def _forget(self, key: tuple[str, str]) -> None:
        counts = self._counts[key[0]]
        for item_id in self._likes.pop(key, ()):
            counts[item_id] -= 1
            if not counts[item_id]:
                del counts[item_id]
