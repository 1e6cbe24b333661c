"""Decodes records of the items topic. Whatever is wrong with one becomes a PoisonEvent with a reason code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from loreline.catalog.v1 import catalog_pb2
from loreline.client import Stamp
from loreline.client.catalog import CONTENT_TYPE_HEADER, JSON, PROTOBUF
from loreline.client.messages import item_of, moment
from services.scenarios import Item, UnknownScenario, load_scenario
from services.scenarios.items import Violation, check_id, check_item


class PoisonEvent(Exception):
    """A record that no retry can help. `reason` is the dead letter's code, `detail` the words."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class Upsert:
    """The item came or changed."""

    stamp: Stamp
    item: Item

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.item.item_id


@dataclass(frozen=True)
class Delete:
    """The item was taken from the catalogue."""

    stamp: Stamp
    item_id: str
    scenario: str


Event = Upsert | Delete


def decode(key: bytes | None, value: bytes | None, headers: Mapping[str, bytes], max_bytes: int) -> Event:
    """The event that a record holds. Raises PoisonEvent (EMPTY, OVERSIZE, CONTENT_TYPE, UNPARSABLE, INVALID)."""
    if not value:
        raise PoisonEvent("EMPTY", "value: must hold a loreline.catalog.v1.CatalogEvent")
    if len(value) > max_bytes:
        raise PoisonEvent("OVERSIZE", f"value: must have at most {max_bytes} bytes, has {len(value)}")
    message = _parse(value, headers.get(CONTENT_TYPE_HEADER, PROTOBUF.encode()))
    event = _event_of(message)
    violations = list(_check(message, event, key))
    if violations:
        raise PoisonEvent("INVALID", "; ".join(f"{field}: {expected}" for field, expected in violations))
    return event


def _parse(value: bytes, content_type: bytes) -> catalog_pb2.CatalogEvent:
    try:
        if content_type == PROTOBUF.encode():
            return catalog_pb2.CatalogEvent.FromString(value)
        if content_type == JSON.encode():
            return json_format.Parse(value.decode("utf-8"), catalog_pb2.CatalogEvent(), max_recursion_depth=20)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise PoisonEvent("UNPARSABLE", f"value: must be a CatalogEvent in {content_type.decode()}: {error}") from error
    shown = content_type[:100].decode("utf-8", "replace")
    raise PoisonEvent("CONTENT_TYPE", f"{CONTENT_TYPE_HEADER}: must be {PROTOBUF} or {JSON}, is {shown!r}")


def _event_of(message: catalog_pb2.CatalogEvent) -> Event:
    stamp = Stamp(message.event_id, _event_time(message))
    match message.WhichOneof("event"):
        case "item_upserted":
            return Upsert(stamp, item_of(message.item_upserted.item))
        case "item_deleted":
            return Delete(stamp, message.item_deleted.item_id, message.item_deleted.scenario)
        case other:
            raise PoisonEvent("INVALID", f"event: must be item_upserted or item_deleted, is {other or 'not set'}")


def _event_time(message: catalog_pb2.CatalogEvent) -> datetime:
    try:
        return moment(message.event_time)
    except (ValueError, OverflowError) as error:
        raise PoisonEvent("INVALID", f"event_time: must be between the years 1 and 9999: {error}") from error


def _check(message: catalog_pb2.CatalogEvent, event: Event, key: bytes | None) -> Iterator[Violation]:
    yield from check_id("event_id", message.event_id)
    if not message.HasField("event_time"):
        yield "event_time", "must be set"
    if isinstance(event, Upsert):
        yield from check_item(event.item, "item_upserted.item")
        yield from _check_scenario("item_upserted.item.scenario", event.item.scenario)
    else:
        yield from check_id("item_deleted.item_id", event.item_id)
        yield from _check_scenario("item_deleted.scenario", event.scenario)
    if key != event.item_id.encode("utf-8", "surrogatepass"):
        yield "key", "must equal the item id"


def _check_scenario(field: str, name: str) -> Iterator[Violation]:
    try:
        load_scenario(name)
    except UnknownScenario as error:
        yield field, str(error)
