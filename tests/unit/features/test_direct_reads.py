"""Ranking's direct reads of Redis, of what the features service wrote there with Feast."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import redis

from feature_repo.redis_connection import redis_client
from loreline.domain import PackedUser
from services.ranking.direct_reads import DirectReads
from services.ranking.feast_redis import entity_key, field_names
from services.ranking.feature_reads import PublicReads
from services.runtime.errors import DependencyUnavailable
from tests.unit.features.conftest import Features, Start
from tests.unit.features.feature_samples import film, stamp, vectors, watched

pytestmark = pytest.mark.parametrize("start", ["redis"], indirect=True)
IDS = ["m1", "é" * 64, "a b", "x" * 128]


@pytest.fixture
def features(start: Start, tmp_path: Path) -> Features:
    """The service with some items, one of them deleted, and a user."""
    features = start(tmp_path)
    features.client.put_contents([(stamp(f"c-{n}"), film(item_id)) for n, item_id in enumerate([*IDS, "gone"])])
    features.client.put_knowledge([(stamp("c-0"), "m1", vectors(0.25))])
    features.client.remove_items([(stamp("r", 1), "gone")])
    features.client.append_interactions([watched("e1", 1), watched("e2", 2, item_id="é" * 64, rating=None)])
    features.client.put_user_knowledge("u1", stamp("e2", 2), vectors(0.75))
    return features


@pytest.fixture
def counted() -> Counter[str]:
    """What became of each read."""
    return Counter()


@pytest.fixture
def direct(features: Features, redis_connection: str, counted: Counter[str]) -> DirectReads:
    """Direct reads, with the service to fall back on."""
    return DirectReads(redis_client(redis_connection, 1.0), PublicReads(features.client), lambda o: counted.update([o]))


@pytest.fixture
def server(redis_connection: str) -> redis.Redis:
    """The Redis server itself."""
    return redis.Redis.from_url(f"redis://{redis_connection}")


def same(one: PackedUser, other: PackedUser) -> bool:
    vectors_equal = one.augmented.keys() == other.augmented.keys() and all(
        np.array_equal(one.augmented[version], other.augmented[version]) for version in one.augmented
    )
    return vectors_equal and (one.item_ids, one.ratings, one.times) == (other.item_ids, other.ratings, other.times)


def test_the_layout_is_feasts(features: Features, server: redis.Redis) -> None:
    """Every key and field that Feast wrote for packed features is found under the name that is computed here."""
    expected = {entity_key("item_id", item_id) for item_id in [*IDS, "gone"]} | {entity_key("user_id", "u1")}
    assert {key for key in server.scan_iter() if not key.startswith(b"{loreline-ledger}")} == expected
    for key, view in ((entity_key("item_id", "m1"), "item_packed"), (entity_key("user_id", "u1"), "user_packed")):
        assert set(field_names(view)) <= set(server.hkeys(key))


def test_items_and_users_are_read_as_the_service_gives_them(
    features: Features, direct: DirectReads, counted: Counter[str]
) -> None:
    """Ids of every kind, in one turn; deleted and unknown ones are left out."""
    read = {item.item_id: item for item in direct.items([*IDS, "gone"])}
    public = {item.item_id: item for item in features.client.items([*IDS, "gone"]).items}
    assert read.keys() == public.keys() == set(IDS)
    assert all(read[i].field_values == public[i].field_values for i in IDS)
    assert read["m1"].augmented["1"].tolist() == [0.25] * 4
    assert same(direct.user("u1"), features.client.user("u1").user)
    assert counted == {"direct": 2}


def test_a_change_is_read_at_once(features: Features, direct: DirectReads) -> None:
    """The service writes Redis before it answers."""
    features.client.put_contents([(stamp("c2", 5), film("m1", year=1984))])
    assert direct.items(["m1"])[0].field_values == features.client.items(["m1"]).items[0].field_values
    features.client.remove_items([(stamp("r2", 6), "m1")])
    assert direct.items(["m1"]) == []


def test_a_missing_key_is_no_surprise(direct: DirectReads, counted: Counter[str]) -> None:
    """An unknown user is empty; a miss now and then is confirmed by the service."""
    assert direct.user("nobody") == PackedUser("nobody")
    assert direct.user("nobody") == PackedUser("nobody")
    assert direct.items(["never"]) == []
    assert counted == {"direct": 3}


def test_keys_that_look_otherwise_are_noticed_by_a_miss(
    direct: DirectReads, server: redis.Redis, counted: Counter[str]
) -> None:
    """If every key were another one, every user would seem unknown; the service knows better and is read from then."""
    server.rename(entity_key("user_id", "u1"), b"moved")
    public = PublicReads(direct._public._features)
    direct._public = _Knowing(public)
    assert direct.user("u1").item_ids == ["known"]
    assert direct.user("u1").item_ids == ["known"]
    assert counted == {"direct": 1, "layout": 1, "paused": 1}


class _Knowing:
    """A public way whose store was not touched."""

    def __init__(self, public: PublicReads) -> None:
        self.items = public.items

    def user(self, user_id: str, seconds_left: float | None = None) -> PackedUser:
        return PackedUser(user_id, ["known"], [1.0], [1])


@pytest.mark.parametrize(
    "fields",
    [
        {field_names("item_packed")[0]: b"\x12\x03abc"},
        {field_names("item_packed")[0]: b"\x0a\xff\xff\xff\xff\x0fabc"},
        {field_names("item_packed")[0]: b""},
        {field_names("item_packed")[0]: b"\x0a\x03\xff\xff\xff"},
        {field_names("item_packed")[0]: b"\x0a\x05\x0a\x03abc"},
    ],
)
def test_an_unexpected_value_is_read_through_the_service(
    features: Features, direct: DirectReads, server: redis.Redis, counted: Counter[str], fields: dict[bytes, bytes]
) -> None:
    """Another type, a wrong length, nothing, no message, another item: never a wrong feature."""
    server.hset(entity_key("item_id", "a b"), mapping=fields)
    read = direct.items(["m1", "x" * 128])
    assert {item.item_id for item in read} == {"m1", "x" * 128}
    direct._public = _Recording()
    assert direct.items(["a b"]) == []
    assert direct._public.asked == [["a b"]]
    assert counted == {"direct": 1, "layout": 1}


class _Recording:
    """A public way that is only asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def items(self, item_ids: list[str], seconds_left: float | None = None) -> list:
        self.asked.append(list(item_ids))
        return []


def test_a_redis_that_does_not_answer_is_read_around(features: Features, counted: Counter[str]) -> None:
    """For a second it is not even asked."""
    direct = DirectReads(
        redis_client("127.0.0.1:1", 0.2), PublicReads(features.client), lambda outcome: counted.update([outcome])
    )
    assert {item.item_id for item in direct.items(IDS)} == set(IDS)
    assert direct.user("u1").item_ids == ["m1", "é" * 64]
    assert counted == {"unavailable": 1, "paused": 1}


def test_neither_way_open_is_unavailable(features: Features) -> None:
    """The caller may retry."""
    features.client.close()
    features.client.__init__("127.0.0.1:1", timeout_seconds=0.2)
    direct = DirectReads(redis_client("127.0.0.1:1", 0.2), PublicReads(features.client), lambda _: None)
    with pytest.raises(DependencyUnavailable, match="features does not answer"):
        direct.user("u1")


@pytest.mark.parametrize(
    ("connection", "words"),
    [("nowhere", "host:port"), (":6379", "host:port"), ("a:b", "host:port"), ("a:1,dbb=0", "db"), ("a:1,db=x", "db")],
)
def test_a_bad_connection_string_is_refused(start: Start, connection: str, words: str) -> None:
    """It says what was expected."""
    with pytest.raises(ValueError, match=words):
        redis_client(connection, 1.0)


def test_a_connection_string_is_read_as_feast_words_it(start: Start) -> None:
    """Database, user and password."""
    options = redis_client("there:6380,db=3,username=me,password=a=b", 0.5).connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("there", 6380, 3)
    assert (options["username"], options["password"]) == ("me", "a=b")
