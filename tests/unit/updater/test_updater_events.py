"""Decoding records of the items topic."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from loreline.catalog.v1 import catalog_pb2
from loreline.client.catalog import EventStamp, ItemEvent, item_deleted, item_upserted
from services.scenarios import Item
from services.updater.events import Delete, PoisonEvent, Upsert, decode

STAMP = EventStamp("event-1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
ITEM = Item("42", "movies", "Heat", {"genres": ["Crime", "Drama"], "year": 1995.0, "plot": None})
JSON_HEADER = {"content-type": b"application/json"}
MAX_BYTES = 10_000


def decode_event(event: ItemEvent, **changes: object) -> Upsert | Delete:
    arguments = {"key": event.key, "value": event.value, "headers": dict(event.headers)} | changes
    return decode(max_bytes=MAX_BYTES, **arguments)


def test_an_upsert_comes_back_as_it_was_sent() -> None:
    """Protobuf keeps every attribute, unknown ones too."""
    event = decode_event(item_upserted(ITEM, STAMP))

    assert isinstance(event, Upsert)
    assert event.item == ITEM
    assert (event.stamp.event_id, event.stamp.event_time) == (STAMP.event_id, STAMP.event_time)


def test_a_delete_comes_back_as_it_was_sent() -> None:
    """A delete names item and scenario."""
    event = decode_event(item_deleted("42", "movies", STAMP))

    assert isinstance(event, Delete)
    assert (event.item_id, event.scenario) == ("42", "movies")


def test_canonical_json_means_the_same_as_protobuf() -> None:
    """The header says how the value is encoded."""
    sent = item_upserted(ITEM, STAMP)
    value = json_format.MessageToJson(sent.event).encode()

    assert decode_event(sent, value=value, headers=JSON_HEADER) == decode_event(sent)


def test_a_missing_header_means_protobuf() -> None:
    """Producers that set no header send protobuf."""
    sent = item_upserted(ITEM, STAMP)

    assert decode_event(sent, headers={}) == decode_event(sent)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (Item("", "movies", "Heat"), "item_upserted.item.item_id"),
        (Item("x" * 129, "movies", "Heat"), "item_upserted.item.item_id"),
        (Item("4\n2", "movies", "Heat"), "item_upserted.item.item_id"),
        (Item("42", "movies", " "), "item_upserted.item.title"),
        (Item("42", "movies", "x" * 513), "item_upserted.item.title"),
        (Item("42", "cooking", "Heat"), "item_upserted.item.scenario"),
        (Item("42", "movies", "Heat", {"year": math.nan}), "item_upserted.item.attributes['year']"),
        (Item("42", "movies", "Heat", {"year": math.inf}), "item_upserted.item.attributes['year']"),
        (Item("42", "movies", "Heat", {"plot": "x" * 8193}), "item_upserted.item.attributes['plot']"),
    ],
)
def test_a_bad_item_names_the_field(item: Item, field: str) -> None:
    """The dead letter says which field must change."""
    with pytest.raises(PoisonEvent) as caught:
        decode_event(item_upserted(item, STAMP))

    assert caught.value.reason == "INVALID"
    assert caught.value.detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"value": b""}, "EMPTY", "value"),
        ({"value": b"x" * (MAX_BYTES + 1)}, "OVERSIZE", f"at most {MAX_BYTES} bytes"),
        ({"value": b"\xff\xff\xff"}, "UNPARSABLE", "CatalogEvent"),
        ({"value": b"\xff{}", "headers": JSON_HEADER}, "UNPARSABLE", "utf-8"),
        ({"value": b'{"eventId": "e", "colour": 1}', "headers": JSON_HEADER}, "UNPARSABLE", "colour"),
        ({"headers": {"content-type": b"text/plain"}}, "CONTENT_TYPE", "text/plain"),
        ({"key": b"another"}, "INVALID", "key: must equal the item id"),
        ({"key": None}, "INVALID", "key: must equal the item id"),
    ],
)
def test_a_bad_record_says_what_was_expected(changes: dict[str, object], reason: str, words: str) -> None:
    """Every way to be wrong has a code and words."""
    with pytest.raises(PoisonEvent, match=words) as caught:
        decode_event(item_upserted(ITEM, STAMP), **changes)

    assert caught.value.reason == reason


def test_an_interaction_has_no_place_on_the_items_topic() -> None:
    """Another kind of event is refused by name."""
    event = catalog_pb2.CatalogEvent(event_id="e", interaction_logged=catalog_pb2.InteractionLogged(user_id="1"))

    with pytest.raises(PoisonEvent, match="interaction_logged"):
        decode(b"1", event.SerializeToString(), {}, MAX_BYTES)


def test_an_event_without_a_time_is_refused() -> None:
    """Order needs a time."""
    event = item_upserted(ITEM, STAMP).event
    event.ClearField("event_time")

    with pytest.raises(PoisonEvent, match="event_time: must be set"):
        decode(b"42", event.SerializeToString(), {}, MAX_BYTES)


@given(value=st.binary(max_size=200), key=st.none() | st.binary(max_size=10), as_json=st.booleans())
def test_any_bytes_are_either_an_event_or_poison(value: bytes, key: bytes | None, as_json: bool) -> None:
    """No bytes make the decoder raise anything else."""
    try:
        event = decode(key, value, JSON_HEADER if as_json else {}, MAX_BYTES)
    except PoisonEvent as poison:
        assert poison.reason in {"EMPTY", "UNPARSABLE", "INVALID"}
    else:
        assert event.item_id.encode() == key


@given(
    document=st.recursive(
        st.none() | st.floats() | st.text(max_size=5), lambda c: st.dictionaries(st.text(max_size=5), c)
    )
)
def test_any_json_is_either_an_event_or_poison(document: object) -> None:
    """No JSON makes the decoder raise anything else."""
    with pytest.raises(PoisonEvent):
        decode(b"1", json.dumps(document).encode(), JSON_HEADER, MAX_BYTES)
