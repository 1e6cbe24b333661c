"""Knowledge texts with a provenance, as any provider would make them."""

from __future__ import annotations

from datetime import UTC, datetime

from loreline.domain import Knowledge, Provenance


def sample_knowledge(text: str, key: str = "key") -> Knowledge:
    """A text that the provider `catalogue` could have written."""
    provenance = Provenance(
        key=key,
        provider="catalogue",
        model="catalogue",
        scenario="movies",
        prompt_version=1,
        factors=("genre",),
        prompt_tokens=0,
        completion_tokens=7,
        finish_reason="stop",
        created_time=datetime(2026, 3, 1, tzinfo=UTC),
        parameters_json="{}",
    )
    return Knowledge(text, provenance)
