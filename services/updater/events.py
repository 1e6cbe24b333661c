"""Decodes records of the items and interactions topics. What is wrong with one becomes a PoisonEvent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from loreline.catalog.v1 import catalog_pb2
from loreline.client.catalog import CONTENT_TYPE_HEADER, JSON, PROTOBUF
from loreline.client.messages import item_of, moment
from loreline.domain import Interaction, Item, Stamp, Violation, check_id, check_item
from services.scenarios import UnknownScenario, load_scenario

Stream = Literal["items", "interactions"]
_KINDS = {
    "items": ("item_upserted", "item_deleted"),
    "interactions": ("interaction_logged", "preferences_requested"),
}
_KEY = {"items": "item", "interactions": "user"}


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
    def subject_id(self) -> str:
        """The item's id."""
        return self.item.item_id

    @property
    def scenario(self) -> str:
        """The item's scenario."""
        return self.item.scenario


@dataclass(frozen=True)
class Delete:
    """The item `subject_id` was taken from the catalogue."""

    stamp: Stamp
    subject_id: str
    scenario: str


@dataclass(frozen=True)
class Logged:
    """A user acted on an item. `since` is the oldest interaction that this one is handled for, if not itself."""

    interaction: Interaction
    since: Stamp | None = None

    @property
    def stamp(self) -> Stamp:
        """The event that says so."""
        return self.interaction.stamp

    @property
    def subject_id(self) -> str:
        """The user's id."""
        return self.interaction.user_id

    @property
    def scenario(self) -> str:
        """The scenario in which the user acted."""
        return self.interaction.scenario


@dataclass(frozen=True)
class Requested:
    """Somebody wants the preferences of the user `subject_id` written anew."""

    stamp: Stamp
    subject_id: str
    scenario: str


ItemEvent = Upsert | Delete
UserEvent = Logged | Requested
Event = ItemEvent | UserEvent


def decode(
    key: bytes | None,
    value: bytes | None,
    headers: Mapping[str, bytes | None],
    max_bytes: int,
    stream: Stream = "items",
    latest: datetime | None = None,
) -> Event:
    """The event that a record holds: an ItemEvent of the items topic, a UserEvent of the interactions topic.

    One after `latest` is refused: it would outdate every event of its subject that comes until then.
    Raises PoisonEvent (EMPTY, OVERSIZE, CONTENT_TYPE, UNPARSABLE, INVALID).
    """
    if not value:
        raise PoisonEvent("EMPTY", "value: must hold a loreline.catalog.v1.CatalogEvent")
    if len(value) > max_bytes:
        raise PoisonEvent("OVERSIZE", f"value: must have at most {max_bytes} bytes, has {len(value)}")
    message = _parse(value, headers.get(CONTENT_TYPE_HEADER) or PROTOBUF.encode())  # null: not said
    kind = message.WhichOneof("event")
    if kind not in _KINDS[stream]:
        raise PoisonEvent("INVALID", f"event: must be {' or '.join(_KINDS[stream])}, is {kind or 'not set'}")
    event = _event_of(message, kind)
    violations = [*_check_stamp(message, latest), *_check(event, kind), *_check_key(event, key, _KEY[stream])]
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


def _event_of(message: catalog_pb2.CatalogEvent, kind: str) -> Event:
    stamp = Stamp(message.event_id, _event_time(message))
    match kind:
        case "item_upserted":
            return Upsert(stamp, item_of(message.item_upserted.item))
        case "item_deleted":
            return Delete(stamp, message.item_deleted.item_id, message.item_deleted.scenario)
        case "interaction_logged":
            return Logged(_interaction_of(stamp, message.interaction_logged))
        case _:
            return Requested(stamp, message.preferences_requested.user_id, message.preferences_requested.scenario)


def _interaction_of(stamp: Stamp, logged: catalog_pb2.InteractionLogged) -> Interaction:
    rating = logged.rating if logged.HasField("rating") else None
    return Interaction(stamp, logged.user_id, logged.item_id, logged.scenario, rating)


def _event_time(message: catalog_pb2.CatalogEvent) -> datetime:
    try:
        return moment(message.event_time)
    except (ValueError, OverflowError) as error:
        raise PoisonEvent("INVALID", f"event_time: must be between the years 1 and 9999: {error}") from error


def _check_stamp(message: catalog_pb2.CatalogEvent, latest: datetime | None) -> Iterator[Violation]:
    yield from check_id("event_id", message.event_id)
    if not message.HasField("event_time"):
        yield "event_time", "must be set"
    elif latest is not None and moment(message.event_time) > latest:
        yield "event_time", f"must not lie in the future, that is after {latest.isoformat(timespec='seconds')}"


def _check(event: Event, kind: str) -> Iterator[Violation]:
    if isinstance(event, Upsert):
        yield from check_item(event.item, f"{kind}.item")
        yield from _check_scenario(f"{kind}.item.scenario", event.scenario)
        return
    id_field = f"{kind}.item_id" if isinstance(event, Delete) else f"{kind}.user_id"
    yield from check_id(id_field, event.subject_id)
    yield from _check_scenario(f"{kind}.scenario", event.scenario)
    if isinstance(event, Logged):
        yield from check_id(f"{kind}.item_id", event.interaction.item_id)
        yield from _check_rating(f"{kind}.rating", event.interaction)


def _check_key(event: Event, key: bytes | None, owner: str) -> Iterator[Violation]:
    if key != event.subject_id.encode("utf-8", "surrogatepass"):
        yield "key", f"must equal the {owner} id"


def _check_scenario(field: str, name: str) -> Iterator[Violation]:
    try:
        load_scenario(name)
    except UnknownScenario as error:
        yield field, str(error)


def _check_rating(field: str, interaction: Interaction) -> Iterator[Violation]:
    if interaction.rating is None:
        return
    if not math.isfinite(interaction.rating):
        yield field, "must be a finite number, not NaN or infinity"
        return
    try:
        scenario = load_scenario(interaction.scenario)
    except UnknownScenario:
        return  # said of the scenario's own field
    if not scenario.minimum_rating <= interaction.rating <= scenario.maximum_rating:
        yield (
            field,
            f"must be from {scenario.minimum_rating:g} to {scenario.maximum_rating:g}, or unset",
        )
