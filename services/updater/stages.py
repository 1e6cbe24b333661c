"""The two stages that an item event goes through, each behind a consumer group of its own.

ContentStage makes an item rankable at once; KnowledgeStage makes it better soon. Because each has its own offsets, a
slow language model delays only the second, and what it has not done yet waits in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import structlog

from loreline.client import (
    EmbeddingClient,
    FailedPreconditionError,
    FeaturesClient,
    InvalidArgumentError,
    KnowledgeClient,
    KnowledgeVectors,
)
from services.scenarios import Knowledge
from services.updater.events import Delete, Event, PoisonEvent, Upsert

log = structlog.get_logger(__name__)
Poisons = dict[int, PoisonEvent]
E = TypeVar("E", Upsert, Delete)


class NotYet(Exception):
    """The batch must be handled again later: the language model does not answer now."""


class MissingContent(Exception):
    """Knowledge is ready, but the content stage has not stored its item yet."""


class Stage(Protocol):
    """Gives a batch of events their effect."""

    @property
    def name(self) -> str:
        """The stage's name in logs, dead letters and its consumer group."""

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Store the effects; returns the events that no retry can help, by position.

        Raises NotYet, MissingContent or loreline.client.ClientError when the whole batch must be handled again;
        handling an event twice changes nothing.
        """


@dataclass(frozen=True)
class ContentStage:
    """Stores content features and removals. Their order is that of the event times, which features keeps."""

    features: FeaturesClient
    name: str = "content"

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Store all upserts in one write and all removals in another."""
        upserts = {position: event for position, event in enumerate(events) if isinstance(event, Upsert)}
        removals = {position: event for position, event in enumerate(events) if isinstance(event, Delete)}
        return _isolating(self._upsert, upserts) | _isolating(self._remove, removals)

    def _upsert(self, events: Mapping[int, Upsert]) -> Poisons:
        outcomes = self.features.put_contents([(event.stamp, event.item) for event in events.values()])
        log.info("content stored", events=len(events), applied=outcomes.count("APPLIED"))
        return {}

    def _remove(self, events: Mapping[int, Delete]) -> Poisons:
        outcomes = self.features.remove_items([(event.stamp, event.item_id) for event in events.values()])
        log.info("items removed", events=len(events), applied=outcomes.count("APPLIED"))
        return {}


@dataclass(frozen=True)
class KnowledgeStage:
    """Asks for knowledge, encodes and adapts it, and stores text and vectors. Removals need nothing here."""

    knowledge: KnowledgeClient
    embedding: EmbeddingClient
    features: FeaturesClient
    provider: str = ""
    name: str = "knowledge"

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Enrich the newest upsert of each item."""
        poisons: Poisons = {}
        for upserts in _newest_upserts_by_scenario(events):
            poisons |= _isolating(self._enrich, upserts)
        return poisons

    def _enrich(self, events: Mapping[int, Upsert]) -> Poisons:
        positions = {event.item_id: position for position, event in events.items()}
        items = [event.item for event in events.values()]
        answers = list(self.knowledge.generate_for_items(items[0].scenario, items, self.provider))
        self._store([(events[positions[a.subject_id]], a.knowledge) for a in answers if a.knowledge])
        failures = {positions[a.subject_id]: a.failure for a in answers if a.failure}
        if any(failure.reason == "UNAVAILABLE" for failure in failures.values()):
            raise NotYet(f"knowledge is not to be had now: {failures}")
        return {p: PoisonEvent(f"KNOWLEDGE_{failure.reason}", failure.detail) for p, failure in failures.items()}

    def _store(self, ready: Sequence[tuple[Upsert, Knowledge]]) -> None:
        if not ready:
            return
        encoded = self.embedding.encode([knowledge.text for _, knowledge in ready])
        augmented, version = self._adapt(encoded.vectors)
        writes = [
            (event.stamp, event.item_id, KnowledgeVectors(knowledge, encoded.encoder, vector, version, adapted))
            for (event, knowledge), vector, adapted in zip(ready, encoded.vectors, augmented, strict=True)
        ]
        outcomes = self.features.put_knowledge(writes)
        log.info("knowledge stored", items=len(writes), applied=outcomes.count("APPLIED"))
        if "MISSING_CONTENT" in outcomes:
            raise MissingContent(f"no content stored yet for {outcomes.count('MISSING_CONTENT')} items")

    def _adapt(self, vectors: npt.NDArray[np.float32]) -> tuple[Iterable[npt.NDArray[np.float32] | None], str]:
        try:
            return self.embedding.adapt("item", vectors)
        except FailedPreconditionError:  # no model version yet: its promotion adapts every stored vector
            return [None] * len(vectors), ""


def _newest_upserts_by_scenario(events: Sequence[Event]) -> list[dict[int, Upsert]]:
    newest: dict[str, int] = {}
    for position, event in enumerate(events):
        other = newest.get(event.item_id)
        if other is None or events[other].stamp.event_time <= event.stamp.event_time:
            newest[event.item_id] = position
    scenarios: dict[str, dict[int, Upsert]] = {}
    for position in newest.values():
        if isinstance(event := events[position], Upsert):
            scenarios.setdefault(event.item.scenario, {})[position] = event
    return list(scenarios.values())


def _isolating(store: Callable[[Mapping[int, E]], Poisons], events: Mapping[int, E]) -> Poisons:
    """Store the events, by position, together; when a service refuses one of them, each by itself."""
    try:
        return store(events) if events else {}
    except InvalidArgumentError as error:
        if len(events) == 1:
            return dict.fromkeys(events, PoisonEvent("INVALID", error.message))
        return dict(item for one in events.items() for item in _isolating(store, dict([one])).items())
