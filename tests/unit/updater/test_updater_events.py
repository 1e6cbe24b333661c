"""Decoding records of the items and interactions topics."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from loreline.client.catalog import CatalogEvent, interaction_logged, item_deleted, item_upserted, preferences_requested
from loreline.domain import Interaction, Item, Stamp
from services.updater.events import Delete, Event, Logged, PoisonEvent, Requested, Stream, Upsert, decode

STAMP = Stamp("event-1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
ITEM = Item("42", "movies", "Heat", {"genres": ["Crime", "Drama"], "year": 1995.0, "plot": None})
JSON_HEADER = {"content-type": b"application/json"}
MAX_BYTES = 10_000


def decode_event(event: CatalogEvent, **changes: object) -> Event:
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
    assert (event.subject_id, event.scenario) == ("42", "movies")


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


def test_an_interaction_comes_back_as_it_was_sent() -> None:
    """With its rating, or without one."""
    for rating in (4.5, None):
        event = decode_event(interaction_logged("u1", "42", "movies", rating, "shown-1", STAMP), stream="interactions")
        stamp = Stamp(STAMP.event_id, STAMP.event_time)
        assert event == Logged(Interaction(stamp, "u1", "42", "movies", rating))


def test_a_request_comes_back_as_it_was_sent() -> None:
    """It names user and scenario."""
    event = decode_event(preferences_requested("u1", "movies", STAMP), stream="interactions")
    assert event == Requested(Stamp(STAMP.event_id, STAMP.event_time), "u1", "movies")


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (interaction_logged("", "42", "movies"), "interaction_logged.user_id"),
        (interaction_logged("u1", "", "movies"), "interaction_logged.item_id"),
        (interaction_logged("u1", "x" * 129, "movies"), "interaction_logged.item_id"),
        (interaction_logged("u1", "42", "cooking"), "interaction_logged.scenario"),
        (interaction_logged("u1", "42", "movies", math.nan), "interaction_logged.rating"),
        (interaction_logged("u1", "42", "movies", -math.inf), "interaction_logged.rating"),
        (interaction_logged("u1", "42", "movies", 0.5), "interaction_logged.rating"),
        (interaction_logged("u1", "42", "movies", 5.5), "interaction_logged.rating"),
        (interaction_logged("u1", "42", "news", 4.0), "interaction_logged.rating"),
        (preferences_requested("u\n1", "movies"), "preferences_requested.user_id"),
        (preferences_requested("u1", ""), "preferences_requested.scenario"),
    ],
)
def test_a_bad_user_event_names_the_field(event: CatalogEvent, field: str) -> None:
    """The dead letter says which field must change."""
    with pytest.raises(PoisonEvent) as caught:
        decode_event(event, stream="interactions")
    assert caught.value.reason == "INVALID"
    assert caught.value.detail.startswith(f"{field}: ")


def test_an_interaction_is_keyed_by_its_user() -> None:
    """So that one user's events stay in order."""
    with pytest.raises(PoisonEvent, match="key: must equal the user id"):
        decode_event(interaction_logged("u1", "42", "movies"), key=b"42", stream="interactions")


@pytest.mark.parametrize("event", [interaction_logged("1", "2", "movies"), preferences_requested("1", "movies")])
def test_a_user_event_has_no_place_on_the_items_topic(event: CatalogEvent) -> None:
    """Another kind of event is refused by name."""
    with pytest.raises(PoisonEvent, match=str(event.event.WhichOneof("event"))) as caught:
        decode_event(event, stream="items")
    assert caught.value.reason == "INVALID"


@pytest.mark.parametrize("event", [item_upserted(ITEM), item_deleted("42", "movies")])
def test_an_item_event_has_no_place_on_the_interactions_topic(event: CatalogEvent) -> None:
    """Another kind of event is refused by name."""
    with pytest.raises(PoisonEvent, match=str(event.event.WhichOneof("event"))) as caught:
        decode_event(event, stream="interactions")
    assert caught.value.reason == "INVALID"


def test_an_event_of_the_far_future_is_refused() -> None:
    """It would freeze its item until then; one at the bound is taken, since clocks differ."""
    latest = datetime(2026, 1, 1, 12, tzinfo=UTC)
    near = item_upserted(ITEM, Stamp("near", latest))
    far = item_upserted(ITEM, Stamp("far", latest + timedelta(microseconds=1)))
    assert decode(near.key, near.value, {}, MAX_BYTES, latest=latest).stamp.event_id == "near"
    with pytest.raises(PoisonEvent, match="event_time: must not lie in the future, that is after 2026-01-01T12:00:00"):
        decode(far.key, far.value, {}, MAX_BYTES, latest=latest)


def test_an_event_without_a_time_is_refused() -> None:
    """Order needs a time."""
    event = item_upserted(ITEM, STAMP).event
    event.ClearField("event_time")

    with pytest.raises(PoisonEvent, match="event_time: must be set"):
        decode(b"42", event.SerializeToString(), {}, MAX_BYTES)


VALID = [
    item_upserted(ITEM, STAMP),
    item_deleted("42", "movies", STAMP),
    interaction_logged("u1", "42", "movies", 4.0, "shown-1", STAMP),
    preferences_requested("u1", "movies", STAMP),
]
BELONGS = {"items": (Upsert, Delete), "interactions": (Logged, Requested)}
STREAMS = st.sampled_from(["items", "interactions"])
REASONS = {"EMPTY", "OVERSIZE", "UNPARSABLE", "INVALID"}


def check_event_or_poison(key: bytes | None, value: bytes, as_json: bool, stream: Stream) -> None:
    """Nothing but an event of the stream, under its own key, or PoisonEvent."""
    try:
        event = decode(key, value, JSON_HEADER if as_json else {}, MAX_BYTES, stream)
    except PoisonEvent as poison:
        assert poison.reason in REASONS
    else:
        assert isinstance(event, BELONGS[stream])
        assert event.subject_id.encode() == key


@given(value=st.binary(max_size=200), key=st.none() | st.binary(max_size=10), as_json=st.booleans(), stream=STREAMS)
def test_any_bytes_are_either_an_event_or_poison(
    value: bytes, key: bytes | None, as_json: bool, stream: Stream
) -> None:
    """No bytes make the decoder raise anything else."""
    check_event_or_poison(key, value, as_json, stream)


@given(sent=st.sampled_from(VALID), as_json=st.booleans(), stream=STREAMS, data=st.data())
def test_a_damaged_event_is_either_an_event_or_poison(
    sent: CatalogEvent, as_json: bool, stream: Stream, data: st.DataObject
) -> None:
    """Bytes changed, cut out and put in, in a few places of what was an event."""
    value = bytearray(json_format.MessageToJson(sent.event).encode() if as_json else sent.value)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(value)))
        value[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check_event_or_poison(sent.key, bytes(value), as_json, stream)


@given(
    document=st.recursive(
        st.none() | st.floats() | st.text(max_size=5), lambda c: st.dictionaries(st.text(max_size=5), c)
    ),
    stream=STREAMS,
)
def test_any_json_is_either_an_event_or_poison(document: object, stream: Stream) -> None:
    """No JSON makes the decoder raise anything else."""
    with pytest.raises(PoisonEvent):
        decode(b"1", json.dumps(document).encode(), JSON_HEADER, MAX_BYTES, stream)
