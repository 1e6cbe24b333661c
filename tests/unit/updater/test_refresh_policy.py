"""When a user's preferences are written anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.updater.refresh_policy import RefreshPolicy

NOW = datetime(2026, 3, 9, tzinfo=UTC)
FRESH, OLD = NOW - timedelta(hours=1), NOW - timedelta(days=8)
POLICY = RefreshPolicy(minimum_interactions=5, refresh_interactions=10, refresh_after=timedelta(days=7))


@pytest.mark.parametrize(
    ("requested", "new", "stored", "cause"),
    [
        (False, 4, None, None),
        (False, 5, None, "first"),
        (False, 9, FRESH, None),
        (False, 10, FRESH, "interactions"),
        (False, 1, FRESH, None),
        (False, 1, OLD, "age"),
        (False, 0, OLD, None),
        (False, 10, OLD, "interactions"),
        (True, 0, FRESH, "requested"),
        (True, 1, None, "requested"),
    ],
)
def test_the_policy_says_why(requested: bool, new: int, stored: datetime | None, cause: str | None) -> None:
    """A request always; else enough interactions, or a new one after long enough."""
    assert POLICY.cause(requested, new, stored, NOW) == cause
