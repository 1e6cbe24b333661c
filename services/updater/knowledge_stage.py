"""The stage that makes items better soon: it gives them knowledge, and forgets that of items which went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loreline.client import FeaturesClient
from loreline.domain import Item
from services.updater.events import Delete, Event, Upsert
from services.updater.knowledge_pipeline import KnowledgePipeline, Question
from services.updater.outcomes import EnrichmentOutcome, Passed
from services.updater.publications import Publications


@dataclass(frozen=True)
class KnowledgeStage:
    """Asks for items' knowledge, and leaves a tombstone in the knowledge topic where an item was deleted.

    It asks features about deletions itself, as the content stage does: only so is nothing published after it.
    """

    pipeline: KnowledgePipeline[Item]
    features: FeaturesClient
    publications: Publications
    name: str = "knowledge"

    def enrich(self, events: Sequence[Event]) -> list[EnrichmentOutcome]:
        """As the consumer's Enrichment asks; the events are of the items topic."""
        upserts = [event for event in events if isinstance(event, Upsert)]
        outcomes = self._forget([event for event in events if isinstance(event, Delete)])
        questions = [Question(event.stamp, event.subject_id, event.item) for event in upserts]
        outcomes |= self.pipeline.enrich(events[0].scenario, questions)
        return [outcomes[event.subject_id] for event in events]

    def _forget(self, deletes: Sequence[Delete]) -> dict[str, EnrichmentOutcome]:
        if not deletes:
            return {}
        with self.pipeline.storing:
            outcomes = self.features.remove_items([(event.stamp, event.subject_id) for event in deletes])
            found = dict(zip([event.subject_id for event in deletes], outcomes, strict=True))
            self.publications.forget("item", [item_id for item_id, outcome in found.items() if outcome != "STALE"])
        return {item_id: Passed("STALE") if outcome == "STALE" else None for item_id, outcome in found.items()}
