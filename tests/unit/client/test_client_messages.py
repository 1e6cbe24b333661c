"""Plain types and contract messages, there and back, over the wire's bytes."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from loreline.catalog.v1 import catalog_pb2
from loreline.client import pack_item, pack_user, unpack_item, unpack_user
from loreline.client.catalog import item_deleted, item_upserted
from loreline.client.messages import (
    attributes_message,
    attributes_of,
    cluster_message,
    cluster_of,
    history_message,
    history_of,
    item_message,
    item_of,
    knowledge_bytes,
    knowledge_of_bytes,
    moment,
    timestamp,
    vector_bytes,
    vector_of,
)
from loreline.domain import (
    Cluster,
    HistoryEntry,
    Item,
    Knowledge,
    PackedItem,
    PackedUser,
    Provenance,
    Stamp,
    UserHistory,
)
from loreline.knowledge.v1 import knowledge_pb2

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.floats(allow_nan=False)
VALUES = st.one_of(st.none(), TEXT, NUMBERS, st.lists(TEXT, max_size=4))
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=5)
ITEMS = st.builds(Item, TEXT, TEXT, TEXT, ATTRIBUTES)
ENTRIES = st.builds(HistoryEntry, ITEMS, st.one_of(st.none(), NUMBERS))
HISTORIES = st.builds(UserHistory, TEXT, st.lists(ENTRIES, max_size=4), ATTRIBUTES)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
COUNTS = st.integers(0, 2**32 - 1)
AGREEMENTS = st.one_of(st.none(), st.floats(0, 1, width=32))
PROVENANCES = st.builds(
    Provenance,
    key=TEXT,
    provider=TEXT,
    model=TEXT,
    scenario=TEXT,
    prompt_version=COUNTS,
    factors=st.lists(TEXT, max_size=4).map(tuple),
    prompt_tokens=COUNTS,
    completion_tokens=COUNTS,
    finish_reason=st.sampled_from(["", "stop", "length"]),
    created_time=MOMENTS,
    parameters_json=TEXT,
    agreement=AGREEMENTS,
    fallback_reason=TEXT,
    cluster=TEXT,
    cluster_weight=st.floats(0, 1),
)
CLUSTERS = st.builds(Cluster, TEXT, st.sampled_from(["", "item", "user"]), st.lists(ENTRIES, max_size=4))
VECTORS = st.lists(st.floats(width=32, allow_nan=False), max_size=6).map(lambda values: np.array(values, np.float32))
AUGMENTED = st.dictionaries(TEXT, VECTORS, max_size=3)


@given(ITEMS)
def test_an_item_comes_back_as_it_was(item: Item) -> None:
    """None, empty texts, empty lists and infinities included."""
    wire = item_message(item).SerializeToString()
    assert item_of(catalog_pb2.Item.FromString(wire)) == item


def test_nothing_an_attribute_can_be_is_taken_for_another() -> None:
    """Unknown, empty text, zero and an empty list are four things; whole numbers become floats."""
    given_ones = {"a": None, "b": "", "c": 0.0, "d": [], "e": 1994}
    assert attributes_of(attributes_message(given_ones)) == given_ones
    assert [type(value) for value in attributes_of(attributes_message(given_ones)).values()] == [
        type(None), str, float, list, float,
    ]  # fmt: skip


def test_attributes_come_in_the_order_of_names() -> None:
    """A proto map has no order, and prompts and keys hang on one."""
    assert list(attributes_of(attributes_message({"b": "1", "a": "2", "c": "3"}))) == ["a", "b", "c"]


def test_not_a_number_arrives_so_that_a_service_can_refuse_it() -> None:
    """The client does not hide it."""
    value = attributes_of(attributes_message({"year": math.nan}))["year"]
    assert isinstance(value, float)
    assert math.isnan(value)


@given(CLUSTERS)
def test_clusters_survive_the_wire(cluster: Cluster) -> None:
    """Kind, order of entries and unset ratings."""
    message = knowledge_pb2.Cluster.FromString(cluster_message(cluster).SerializeToString())
    assert cluster_of(message) == cluster


@given(HISTORIES)
def test_a_history_comes_back_as_it_was(user: UserHistory) -> None:
    """In order, an unset rating apart from a rating of 0."""
    wire = history_message(user).SerializeToString()
    assert history_of(knowledge_pb2.UserHistory.FromString(wire)) == user


@given(TEXT, PROVENANCES)
def test_knowledge_comes_back_as_it_was(text: str, provenance: Provenance) -> None:
    """Every field of its provenance, to the microsecond."""
    knowledge = Knowledge(text, provenance)
    assert knowledge_of_bytes(knowledge_bytes(knowledge)) == knowledge


def test_bytes_that_are_no_knowledge_are_an_error() -> None:
    """A damaged store does not look like an empty text."""
    with pytest.raises(DecodeError):
        knowledge_of_bytes(b"\xff\xff\xff")


@given(MOMENTS)
def test_a_moment_comes_back_as_it_was(given_one: datetime) -> None:
    """Aware, UTC."""
    assert moment(timestamp(given_one)) == given_one
    assert moment(timestamp(given_one)).tzinfo is UTC


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    """Only the spelling changes."""
    eastern = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-5)))
    assert moment(timestamp(eastern)) == eastern


@given(VECTORS)
def test_a_vector_comes_back_to_the_bit(vector: np.ndarray) -> None:
    """Little-endian float32, four bytes a number."""
    data = vector_bytes(vector)
    assert len(data) == 4 * len(vector)
    assert vector_of(data).tobytes() == vector.tobytes()


def test_a_vector_of_other_numbers_is_narrowed() -> None:
    """What is stored is always little-endian float32."""
    assert vector_bytes(np.array([1.0, 2.0], dtype=">f8")) == b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert vector_of(b"").shape == (0,)


@given(st.builds(PackedItem, TEXT, TEXT, st.lists(TEXT, max_size=3), AUGMENTED, st.booleans()))
def test_a_packed_item_comes_back_as_it_was(item: PackedItem) -> None:
    """With every version's vector, in order."""
    found = unpack_item(pack_item(item))
    assert (found.item_id, found.scenario, found.field_values) == (item.item_id, item.scenario, item.field_values)
    assert found.deleted is item.deleted
    assert _plain(found.augmented) == _plain(item.augmented)


@given(
    st.builds(
        PackedUser,
        user_id=TEXT,
        item_ids=st.lists(TEXT, max_size=4),
        ratings=st.lists(st.floats(width=32, allow_nan=False), max_size=4),
        times=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
        augmented=AUGMENTED,
    )
)
def test_a_packed_user_comes_back_as_it_was(user: PackedUser) -> None:
    """History columns and vectors."""
    found = unpack_user(pack_user(user))
    assert (found.user_id, found.item_ids, found.ratings, found.times) == (
        user.user_id, user.item_ids, user.ratings, user.times,
    )  # fmt: skip
    assert _plain(found.augmented) == _plain(user.augmented)


def _plain(vectors: dict[str, np.ndarray]) -> list[tuple[str, bytes]]:
    return [(version, vector.tobytes()) for version, vector in vectors.items()]


def test_events_carry_key_stamp_and_content() -> None:
    """What the items topic holds can be read back without the client."""
    stamp = Stamp("e1", datetime(2026, 3, 1, tzinfo=UTC))
    item = Item("42", "movies", "Night Train", {"year": 1994.0})
    record = item_upserted(item, stamp)
    event = catalog_pb2.CatalogEvent.FromString(record.value)
    assert (record.key, record.headers) == (b"42", [("content-type", b"application/x-protobuf")])
    assert (event.event_id, moment(event.event_time)) == ("e1", stamp.event_time)
    assert item_of(event.item_upserted.item) == item
    removed = catalog_pb2.CatalogEvent.FromString(item_deleted("42", "movies", stamp).value)
    assert (removed.item_deleted.item_id, removed.item_deleted.scenario) == ("42", "movies")


def test_every_event_has_an_id_of_its_own() -> None:
    """Duplicates are told by it."""
    first, second = (item_deleted("42", "movies").event for _ in range(2))
    assert first.event_id != second.event_id
    assert moment(first.event_time) <= moment(second.event_time)
