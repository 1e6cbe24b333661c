"""Moments as an operator types them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from services.cli.output import BadInput

MOMENT = "2026-03-01, 2026-03-01T12:30 (UTC), or 90m, 2h, 3d ago"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, text: str) -> datetime | None:
    """The moment in UTC; None for an empty text. Raises BadInput that names the option."""
    if not text:
        return None
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{option}: must be a moment such as {MOMENT}, is {text!r}") from error
