"""Builds the events of loreline.catalog.v1 and publishes them to Kafka's items topic."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from loreline.catalog.v1 import catalog_pb2
from loreline.client.messages import item_message, timestamp
from services.scenarios import Item

CONTENT_TYPE_HEADER = "content-type"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def _new_id() -> str:
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ItemEvent:
    """One record of the items topic: its key, its value, and its headers, ready for any Kafka producer."""

    item_id: str
    event: catalog_pb2.CatalogEvent

    @property
    def key(self) -> bytes:
        """The record's key: the item id, so that one item's events stay in order."""
        return self.item_id.encode()

    @property
    def value(self) -> bytes:
        """The record's value in protobuf."""
        return self.event.SerializeToString()

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The record's headers: how the value is encoded."""
        return [(CONTENT_TYPE_HEADER, PROTOBUF.encode())]


@dataclass(frozen=True)
class EventStamp:
    """The id and time that an event carries; by default a new id and the present moment."""

    event_id: str = field(default_factory=_new_id)
    event_time: datetime = field(default_factory=_now)


def item_upserted(item: Item, stamp: EventStamp | None = None) -> ItemEvent:
    """The event that an item came or changed."""
    event = _event(stamp)
    event.item_upserted.item.CopyFrom(item_message(item))
    return ItemEvent(item.item_id, event)


def item_deleted(item_id: str, scenario: str, stamp: EventStamp | None = None) -> ItemEvent:
    """The event that an item was taken from the catalogue."""
    event = _event(stamp)
    event.item_deleted.item_id, event.item_deleted.scenario = item_id, scenario
    return ItemEvent(item_id, event)


def _event(stamp: EventStamp | None) -> catalog_pb2.CatalogEvent:
    stamp = stamp or EventStamp()
    return catalog_pb2.CatalogEvent(event_id=stamp.event_id, event_time=timestamp(stamp.event_time))
