"""When a user's preferences are written anew: a pure rule over what is stored of the user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Cause = Literal["requested", "first", "interactions", "age"]


@dataclass(frozen=True)
class RefreshPolicy:
    """A user without preferences needs `minimum_interactions`; one with them `refresh_interactions` new ones, or a
    single new one once the preferences are older than `refresh_after`. A request is always followed.
    """

    minimum_interactions: int
    refresh_interactions: int
    refresh_after: timedelta

    def cause(self, requested: bool, new_interactions: int, stored: datetime | None, now: datetime) -> Cause | None:
        """Why preferences are due, or None when they are not.

        `new_interactions` came after those that the preferences tell of; `stored` is when these were stored, None when
        there are none.
        """
        if requested:
            return "requested"
        if stored is None:
            return "first" if new_interactions >= self.minimum_interactions else None
        if new_interactions >= self.refresh_interactions:
            return "interactions"
        return "age" if new_interactions > 0 and now - stored > self.refresh_after else None
