"""What the updater tells the world: whose knowledge was stored, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loreline.client import Record
from loreline.client.catalog import CONTENT_TYPE_HEADER, PROTOBUF, enriched
from loreline.client.messages import record_bytes
from loreline.domain import KnowledgeVectors, Stamp
from services.updater.acknowledged_producer import AcknowledgedProducer, OutgoingRecord
from services.updater.metrics import UpdaterMetrics

Kind = Literal["item", "user"]


@dataclass(frozen=True)
class Enriched:
    """Knowledge that was stored for the item or user `subject_id`, as the answer to the event `stamp`."""

    kind: Kind
    subject_id: str
    scenario: str
    stamp: Stamp
    vectors: KnowledgeVectors


class Publications:
    """Writes the enriched topic and the knowledge topic, both at least once. Safe to share between threads.

    The enriched topic holds item_enriched and user_enriched events, keyed by item or user id, whose event id is that of
    the event answered: telling it twice tells nothing new. The knowledge topic holds the newest KnowledgeRecord under
    `item/ID` or `user/ID`, or none when the item was deleted.
    """

    def __init__(
        self, producer: AcknowledgedProducer, enriched_topic: str, knowledge_topic: str, metrics: UpdaterMetrics
    ) -> None:
        self._producer, self._metrics = producer, metrics
        self._enriched, self._knowledge = enriched_topic, knowledge_topic

    def tell(self, news: Sequence[Enriched]) -> None:
        """Publish both records of each, acknowledged when this returns. Raises kafka.errors.KafkaError."""
        self._send([record for one in news for record in (self._event(one), self._record(one))])

    def forget(self, kind: Kind, subject_ids: Sequence[str]) -> None:
        """Publish tombstones to the knowledge topic, acknowledged as in `tell`."""
        self._send([OutgoingRecord(self._knowledge, _key(kind, subject_id), None) for subject_id in subject_ids])

    def _send(self, records: Sequence[OutgoingRecord]) -> None:
        if not records:
            return
        self._producer.send(records)
        for record in records:
            self._metrics.published.labels(record.topic).inc()

    def _event(self, news: Enriched) -> OutgoingRecord:
        event = enriched(news.kind, news.subject_id, news.scenario, news.vectors, news.stamp)
        return OutgoingRecord(self._enriched, event.key, event.value, event.headers)

    def _record(self, news: Enriched) -> OutgoingRecord:
        record = Record(news.kind, news.subject_id, news.vectors.knowledge, news.stamp.event_id, news.stamp.event_time)
        headers = [(CONTENT_TYPE_HEADER, PROTOBUF.encode())]
        return OutgoingRecord(self._knowledge, _key(news.kind, news.subject_id), record_bytes(record), headers)


def _key(kind: Kind, subject_id: str) -> bytes:
    return f"{kind}/{subject_id}".encode()
