"""Watches freshly published items become rankable, then enriched, as a caller of ranking sees it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.live import Live
from rich.table import Table

from loreline.client import FeaturesClient, ItemDescription, RankingClient
from loreline.domain import Item
from services.cli.output import NotReady, console

POLL_SECONDS = 0.05


@dataclass
class Journey:
    """One item's way. Times are seconds since 1970-01-01 UTC; None while it has not happened."""

    item: Item
    published: float
    received: float | None = None
    rankable: float | None = None
    enriched: float | None = None
    provider: str = ""
    tokens: int = 0
    fallback_reason: str = ""
    reused: bool = False

    @property
    def received_after_ms(self) -> float | None:
        """Milliseconds from the producer to the item's content in the online store."""
        return None if self.received is None else (self.received - self.published) * 1000

    @property
    def rankable_after_ms(self) -> float | None:
        """Milliseconds from the producer to the first Rank that scored the item."""
        return None if self.rankable is None else (self.rankable - self.published) * 1000

    @property
    def enriched_after_seconds(self) -> float | None:
        """Seconds from the producer to the first Rank that used its knowledge."""
        return None if self.enriched is None else self.enriched - self.published


def follow(
    published: Sequence[tuple[Item, float]],
    ranking: RankingClient,
    features: FeaturesClient,
    timeout_seconds: float,
) -> list[Journey]:
    """Ask ranking for the items until all are enriched, showing a live table. Raises NotReady after the timeout.

    `published` says when each was handed to the producer, in seconds since 1970-01-01 UTC.
    """
    journeys = {item.item_id: Journey(item, moment) for item, moment in published}
    deadline = time.time() + timeout_seconds
    with Live(console=console, refresh_per_second=8, vertical_overflow="visible") as live:
        while any(journey.enriched is None for journey in journeys.values()):
            if time.time() > deadline:
                raise NotReady(_late(journeys.values(), timeout_seconds))
            _look(journeys, ranking, features)
            live.update(_table(list(journeys.values())))
            time.sleep(POLL_SECONDS)
    if not console.is_terminal:
        console.print()  # off a terminal the table comes out without its last line break
    return list(journeys.values())


def _look(journeys: dict[str, Journey], ranking: RankingClient, features: FeaturesClient) -> None:
    ranked = ranking.rank("new-user", next(iter(journeys.values())).item.scenario, list(journeys))
    now = time.time()
    for item_id, knowledge_used in zip(ranked.item_ids, ranked.knowledge_used, strict=True):
        journey = journeys[item_id]
        if journey.rankable is None:
            journey.rankable = now
            journey.received = features.describe_item(item_id).content_stored_time.timestamp()
        if knowledge_used and journey.enriched is None:
            journey.enriched = now
            _note_source(journey, features.describe_item(item_id))


def _note_source(journey: Journey, description: ItemDescription) -> None:
    if description.knowledge is not None:
        source = description.knowledge.provenance
        journey.provider, journey.tokens = source.provider, source.completion_tokens
        journey.fallback_reason = source.fallback_reason
        journey.reused = source.created_time.timestamp() < journey.published


def _table(journeys: Sequence[Journey]) -> Table:
    done = sum(journey.enriched is not None for journey in journeys)
    table = Table(title=f"{done} of {len(journeys)} enriched", title_justify="left")
    table.add_column("item", no_wrap=True)
    table.add_column("title", no_wrap=True, overflow="ellipsis", max_width=28)
    for name in ("received\nafter ms", "rankable\nafter ms", "enriched\nafter s", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for journey in journeys:
        table.add_row(*_row(journey))
    return table


def _row(journey: Journey) -> list[str]:
    received, rankable, enriched = journey.received_after_ms, journey.rankable_after_ms, journey.enriched_after_seconds
    writer = journey.provider + ("*" if journey.fallback_reason else "")  # the summary says what it means
    return [
        journey.item.item_id,
        journey.item.title,
        "" if received is None else f"{received:.0f}",
        "" if rankable is None else f"{rankable:.0f}",
        "" if enriched is None else f"{enriched:.1f}",
        "" if enriched is None else "kept" if journey.reused else str(journey.tokens),
        writer,
    ]


def _late(journeys: Iterable[Journey], timeout_seconds: float) -> str:
    late = [journey.item.item_id for journey in journeys if journey.enriched is None]
    return f"{len(late)} items are not enriched after {timeout_seconds:.0f} s: {', '.join(late[:10])}"
