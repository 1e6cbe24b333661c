"""What the stages talk to, as small whole implementations that keep what they were told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from loreline.client import Answer, Encoded, Failure, FeaturesClient, InvalidArgumentError
from loreline.client.embedding_calls import ActiveAdapted
from loreline.client.messages import record_of_bytes
from loreline.domain import Interaction, Item, Stamp, UserHistory
from services.updater.acknowledged_producer import OutgoingRecord
from services.updater.dead_letters import DeadLetterTopic
from services.updater.metrics import UpdaterMetrics
from services.updater.popularity import Popularity
from services.updater.publications import Publications
from services.updater.stage_builders import Connections
from tests.knowledge_samples import sample_knowledge

START = datetime(2026, 3, 1, tzinfo=UTC)


class ScriptedKnowledge:
    """Answers with the subject's id as text, but for those in `failures`; refuses a request that names `invalid`."""

    def __init__(self) -> None:
        self.failures: dict[str, Failure] = {}
        self.invalid: set[str] = set()
        self.asked: list[list[Item] | list[UserHistory]] = []

    def generate_for_items(self, scenario: str, items: Sequence[Item], provider: str = "") -> Iterator[Answer]:
        """As the client does."""
        self.asked.append(list(items))
        yield from self._answers([item.item_id for item in items])

    def generate_for_users(self, scenario: str, users: Sequence[UserHistory], provider: str = "") -> Iterator[Answer]:
        """As the client does."""
        self.asked.append(list(users))
        yield from self._answers([user.user_id for user in users])

    def _answers(self, ids: Sequence[str]) -> Iterator[Answer]:
        if self.invalid & set(ids):
            raise InvalidArgumentError("INVALID_ARGUMENT", "entries[0].item.title: must not be blank", [])
        for name in ids:
            failure = self.failures.get(name)
            yield Answer(name, None if failure else sample_knowledge(f"Of {name}."), failure, False)


@dataclass
class SmallEncoder:
    """Vectors of eight equal numbers, adapted to four for model version 1, and to twice these for `others`.

    A version named `misfit` takes no such vectors.
    """

    others: list[str] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """As the client does."""
        return Encoded(np.full((len(texts), 8), 0.5, dtype=np.float32), "small", 0)

    def adapt(
        self, subject: str, vectors: npt.NDArray[np.float32], encoder: str, model_version: str = ""
    ) -> tuple[npt.NDArray[np.float32], str]:
        """As the client does."""
        if model_version == "misfit":
            raise InvalidArgumentError("INVALID_ARGUMENT", "dimension: must be 6", [])
        return 2 * vectors[:, :4], model_version

    def adapt_active(self, subject: str, vectors: npt.NDArray[np.float32], encoder: str) -> ActiveAdapted:
        """As the client does."""
        return ActiveAdapted(vectors[:, :4], "1", self.others)


@dataclass
class MemoryProducer:
    """Keeps what was written; while `broken` is set, it raises that instead."""

    records: list[OutgoingRecord] = field(default_factory=list)
    broken: Exception | None = None

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        """As AcknowledgedProducer does."""
        if self.broken:
            raise self.broken
        self.records += records

    def on(self, topic: str) -> list[OutgoingRecord]:
        """The records of a topic."""
        return [record for record in self.records if record.topic == topic]

    @property
    def knowledge(self) -> dict[str, str | None]:
        """What a compacted knowledge topic holds: the newest text by key, None of a tombstone."""
        newest = {(record.key or b"").decode(): record.value for record in self.on("knowledge")}
        return {key: record_of_bytes(value).knowledge.text if value else None for key, value in newest.items()}


@dataclass
class Parts:
    """The connections of a stage, and the parts behind them."""

    features: FeaturesClient
    knowledge: ScriptedKnowledge = field(default_factory=ScriptedKnowledge)
    producer: MemoryProducer = field(default_factory=MemoryProducer)
    embedding: SmallEncoder = field(default_factory=SmallEncoder)
    popularity: Popularity = field(default_factory=lambda: Popularity(100, 3600))
    metrics: UpdaterMetrics = field(default_factory=UpdaterMetrics)

    @property
    def connections(self) -> Connections:
        """As main builds them."""
        return Connections(
            knowledge=self.knowledge,
            embedding=self.embedding,
            features=self.features,
            dead_letters=DeadLetterTopic(self.producer, "dead-letters"),
            publications=Publications(self.producer, "enriched", "knowledge", self.metrics),
            popularity=self.popularity,
            metrics=self.metrics,
        )

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 before it was first counted."""
        return self.metrics.registry.get_sample_value(f"loreline_updater_{name}", labels) or 0.0


def stamp(name: str, minutes: float = 0) -> Stamp:
    """An event, minutes after the first."""
    return Stamp(name, START + timedelta(minutes=minutes))


def film(item_id: str, scenario: str = "movies") -> Item:
    """An item with a title of its own."""
    return Item(item_id, scenario, f"Film {item_id}", {"genres": ["Drama"], "year": 1990.0})


def watched(user_id: str, item_id: str, minutes: float, scenario: str = "movies") -> Interaction:
    """A user saw a film and gave it four stars."""
    return Interaction(stamp(f"{user_id}-{minutes}", minutes), user_id, item_id, scenario, 4.0)
