"""Builds the events of loreline.catalog.v1, ready for Kafka's items, interactions and enriched topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from loreline.catalog.v1 import catalog_pb2
from loreline.client.messages import item_message, timestamp
from loreline.domain import Item, KnowledgeVectors, Stamp, new_stamp

CONTENT_TYPE_HEADER = "content-type"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass(frozen=True)
class CatalogEvent:
    """One record of a topic of events: its key, its value, and its headers, ready for any Kafka producer.

    `subject_id` is the id of the item or user that the event is about.
    """

    subject_id: str
    event: catalog_pb2.CatalogEvent

    @property
    def key(self) -> bytes:
        """The record's key: the subject's id, so that one subject's events stay in order."""
        return self.subject_id.encode()

    @property
    def value(self) -> bytes:
        """The record's value in protobuf."""
        return self.event.SerializeToString()

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The record's headers: how the value is encoded."""
        return [(CONTENT_TYPE_HEADER, PROTOBUF.encode())]


def item_upserted(item: Item, stamp: Stamp | None = None) -> CatalogEvent:
    """The event that an item came or changed."""
    event = _event(stamp)
    event.item_upserted.item.CopyFrom(item_message(item))
    return CatalogEvent(item.item_id, event)


def item_deleted(item_id: str, scenario: str, stamp: Stamp | None = None) -> CatalogEvent:
    """The event that an item was taken from the catalogue."""
    event = _event(stamp)
    event.item_deleted.item_id, event.item_deleted.scenario = item_id, scenario
    return CatalogEvent(item_id, event)


def interaction_logged(
    user_id: str,
    item_id: str,
    scenario: str,
    rating: float | None = None,
    attribution_id: str = "",
    stamp: Stamp | None = None,
) -> CatalogEvent:
    """The event that a user acted on an item; `rating` in the scenario's unit."""
    event = _event(stamp)
    event.interaction_logged.MergeFrom(
        catalog_pb2.InteractionLogged(
            user_id=user_id, item_id=item_id, scenario=scenario, rating=rating, attribution_id=attribution_id
        )
    )
    return CatalogEvent(user_id, event)


def preferences_requested(user_id: str, scenario: str, stamp: Stamp | None = None) -> CatalogEvent:
    """The event that a user's preferences are to be written anew."""
    event = _event(stamp)
    event.preferences_requested.user_id, event.preferences_requested.scenario = user_id, scenario
    return CatalogEvent(user_id, event)


def enriched(subject: str, subject_id: str, scenario: str, vectors: KnowledgeVectors, stamp: Stamp) -> CatalogEvent:
    """The event that knowledge of an item or user (`subject`: item or user) was stored."""
    event = _event(stamp)
    made_by = vectors.knowledge.provenance
    source = catalog_pb2.KnowledgeSource(
        knowledge_key=made_by.key,
        provider=made_by.provider,
        model=made_by.model,
        prompt_version=made_by.prompt_version,
        encoder=vectors.encoder,
        model_version=vectors.model_version,
    )
    if subject == "item":
        enriched_item = catalog_pb2.ItemEnriched(item_id=subject_id, scenario=scenario, source=source)
        event.item_enriched.CopyFrom(enriched_item)
    else:
        enriched_user = catalog_pb2.UserEnriched(user_id=subject_id, scenario=scenario, source=source)
        event.user_enriched.CopyFrom(enriched_user)
    return CatalogEvent(subject_id, event)


def event_document(value: bytes, content_type: str = PROTOBUF) -> dict[str, Any] | None:
    """The event that a record's value holds, as a document with the contract's field names, for people to read.

    None where the bytes are no event, or name fields that the contract does not have.
    """
    event = catalog_pb2.CatalogEvent()
    try:
        if content_type == JSON:
            json_format.Parse(value.decode("utf-8"), event, max_recursion_depth=20)
        else:
            event.ParseFromString(value)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError):
        return None
    if len(UnknownFieldSet(event)) or not event.ListFields():
        return None
    return json_format.MessageToDict(event, preserving_proto_field_name=True)


def _event(stamp: Stamp | None) -> catalog_pb2.CatalogEvent:
    stamp = stamp or new_stamp()
    return catalog_pb2.CatalogEvent(event_id=stamp.event_id, event_time=timestamp(stamp.event_time))
