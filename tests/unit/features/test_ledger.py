"""The ledger: one contract for its file and for Redis; a file of an earlier version, several processes, outages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import redis

from loreline.client import pack_item, pack_user, unpack_item
from loreline.domain import PackedItem, PackedUser, Stamp
from services.features import ordering, redis_ledger
from services.features.ledger import Ledger
from services.features.ledger_rows import new_user
from services.features.ordering import Answer, ItemState, WriteOutcome
from services.features.redis_ledger import RedisLedger
from services.features.sqlite_ledger import SqliteLedger
from services.runtime.errors import DependencyUnavailable
from tests.redis_server import RedisServer
from tests.unit.features.feature_samples import NOON, film, stamp, vectors, watched
from tests.waiting import wait_until

OLD_TABLE = """
CREATE TABLE subjects (
    kind TEXT, id TEXT, sequence INTEGER,
    content_event TEXT, content_time_us INTEGER, content_hash TEXT,
    knowledge_event TEXT, knowledge_time_us INTEGER,
    versions TEXT, packed BLOB,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX by_sequence ON subjects (kind, sequence);
"""
LONG = 100.0
NOON_US = int(NOON.timestamp()) * 1_000_000
ONES = {"1": np.ones(4, dtype=np.float32)}


@pytest.fixture
def old_ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """A file as version 0.1.0 wrote it: an item and a user with knowledge, of event e1 at noon."""
    item = pack_item(PackedItem("m1", "movies", ["Drama", "1990"], ONES))
    user = pack_user(PackedUser("u1", ["a", "b"], [4, 5], [100, 200], ONES))
    hashed = ordering.content_hash(film())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.executescript(OLD_TABLE)
        put = "INSERT INTO subjects VALUES (?,?,?,?,?,?,?,?,?,?)"
        connection.execute(put, ("item", "m1", 7, "e1", NOON_US, hashed, "e1", 0, '["1"]', item))
        connection.execute(put, ("user", "u1", 8, "h1", 200_000_000, "", "e1", NOON_US, '["1"]', user))
    ledger = SqliteLedger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


class TestEarlierVersion:
    """Files that were written before answers and events were kept."""

    def test_states_are_read_as_they_were(self, old_ledger: SqliteLedger) -> None:
        """The answer is unknown, and no entry has an event."""
        item, user = old_ledger.items(["m1"])["m1"], old_ledger.users(["u1"])["u1"]
        assert (item.content, item.knowledge, item.answer) == (stamp("e1"), stamp("e1"), None)
        assert (user.packed.item_ids, user.events.ids) == (["a", "b"], ["", ""])
        assert user.events.times_us == [100_000_000, 200_000_000]
        assert old_ledger.item_page(0, 10) == [(7, item.value)]

    def test_knowledge_of_the_same_event_is_replaced_once(self, old_ledger: SqliteLedger) -> None:
        """From then on it is known which answer is stored."""
        outcome, state = ordering.with_knowledge(old_ledger.items(["m1"])["m1"], stamp("e1"), vectors())
        assert outcome is WriteOutcome.APPLIED
        assert state is not None
        old_ledger.put_items([state])
        again, _ = ordering.with_knowledge(old_ledger.items(["m1"])["m1"], stamp("e1"), vectors())
        assert again is WriteOutcome.DUPLICATE

    def test_events_join_an_old_history(self, old_ledger: SqliteLedger) -> None:
        """And are known afterwards."""
        outcome, state = ordering.with_interaction(old_ledger.users(["u1"])["u1"], watched("e5", item_id="c"))
        assert outcome is WriteOutcome.APPLIED
        old_ledger.put_users([state])
        stored = old_ledger.users(["u1"])["u1"]
        assert (stored.packed.item_ids, stored.events.ids) == (["a", "b", "c"], ["", "", "e5"])

    def test_opening_it_again_changes_nothing(self, old_ledger: SqliteLedger, tmp_path: Path) -> None:
        """The columns are added once."""
        with closing(SqliteLedger(tmp_path / "ledger.db")) as again:
            assert again.item_page(0, 10) == old_ledger.item_page(0, 10)


@pytest.fixture(params=["sqlite", "redis"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens a ledger that was empty, once or again."""
    if request.param == "redis":
        connection = request.getfixturevalue("redis_connection")
        redis.Redis.from_url(f"redis://{connection}").flushall()
    with ExitStack() as opened:
        yield lambda: opened.enter_context(
            closing(RedisLedger(connection) if request.param == "redis" else SqliteLedger(tmp_path / "ledger.db"))
        )


@pytest.fixture
def ledger(open_it: Callable[[], Ledger]) -> Ledger:
    """One of each kind, empty."""
    return open_it()


def an_item(item_id: str, event: str = "e1", *, answer: Answer | None = None, version: str = "") -> ItemState:
    """An item, with knowledge where there is an answer, and with a vector of a model version."""
    packed = PackedItem(item_id, "movies", ["Drama"], {version: ONES["1"]} if version else {})
    return ItemState(stamp(event), "hash", stamp(event) if answer else None, packed, answer)


ANSWER = Answer("key", NOON_US, "minilm")


class TestStates:
    """What was put is read, by this ledger and by one that is opened over the same."""

    def test_all_of_a_state_is_read_back(self, ledger: Ledger, open_it: Callable[[], Ledger]) -> None:
        """Knowledge, answer and events included."""
        _, user = ordering.with_interaction(new_user("u1"), watched("e5", item_id="c"))
        item = an_item("m1", answer=ANSWER, version="1")
        ledger.put_items([item])
        ledger.put_users([user])
        for one in (ledger, open_it()):
            found, found_user = one.items(["m1", "unknown"])["m1"], one.users(["u1"])["u1"]
            assert (found.content, found.content_hash) == (item.content, item.content_hash)
            assert (found.knowledge, found.answer, found.value) == (item.knowledge, ANSWER, item.value)
            assert (found_user.history, found_user.events, found_user.value) == (user.history, user.events, user.value)
            assert one.etags("item", ["m1"]) == {"m1": ordering.etag(item)}

    def test_more_than_a_page_is_read_at_once(self, ledger: Ledger) -> None:
        """In one put, and in one read."""
        ids = [f"m{number}" for number in range(1_100)]
        ledger.put_items([an_item(item_id) for item_id in ids])
        assert sorted(ledger.items(ids)) == sorted(ids)
        assert ledger.count("item") == 1_100
        assert ledger.count("user") == 0

    def test_pages_follow_the_order_of_ids(self, ledger: Ledger) -> None:
        """Of bytes, whatever letters they stand for."""
        ledger.put_items([an_item(item_id) for item_id in ("z", "é", "a", "B", "ab")])
        ledger.put_users([new_user("u1"), new_user("u2")])
        assert [one.packed.item_id for one in ledger.items_after("", 3)] == ["B", "a", "ab"]
        assert [one.packed.item_id for one in ledger.items_after("ab", 3)] == ["z", "é"]
        assert [one.packed.user_id for one in ledger.users_after("u1", 3)] == ["u2"]

    def test_subjects_with_knowledge_are_those_a_version_lacks(self, ledger: Ledger) -> None:
        """Knowledge that went with changed content counts no more."""
        with_both = an_item("m3", answer=ANSWER, version="7")
        ledger.put_items([an_item("m2", answer=ANSWER), an_item("m1", answer=ANSWER), with_both, an_item("m4")])
        assert ledger.subjects_with_knowledge("item", "") == ["m1", "m2", "m3"]
        assert ledger.subjects_with_knowledge("item", "7") == ["m1", "m2"]
        ledger.put_items([an_item("m1", "e2")])
        assert ledger.subjects_with_knowledge("item", "7") == ["m2"]

    def test_bulk_stamps_tell_content_and_knowledge(self, ledger: Ledger) -> None:
        """Of all subjects of the kind."""
        ledger.put_items([an_item("m1", answer=ANSWER), an_item("m2")])
        assert ledger.bulk_stamps("item") == {"m1": (NOON_US, "e1"), "m2": (NOON_US, "")}
        assert ledger.bulk_stamps("user") == {}

    def test_the_width_of_an_encoder_is_kept(self, ledger: Ledger, open_it: Callable[[], Ledger]) -> None:
        """Until it is known it is 0."""
        assert ledger.width("minilm") == 0
        ledger.keep_width("minilm", 384)
        assert (ledger.width("minilm"), open_it().width("minilm"), ledger.width("bge")) == (384, 384, 0)

    def test_a_put_that_fails_stores_nothing_and_ends_nothing(self, ledger: Ledger) -> None:
        """The ledger goes on with the next one, without a gap in its numbers."""
        broken = replace(an_item("m2"), content=Stamp("\ud800 has no bytes", NOON))
        with pytest.raises(UnicodeEncodeError):
            ledger.put_items([an_item("m1"), broken])
        assert (ledger.items(["m1", "m2"]), ledger.newest_item) == ({}, 0)
        ledger.put_items([an_item("m3")])
        assert [sequence for sequence, _ in ledger.item_page(0, 10)] == [1]


class TestOrderOfChanges:
    """Items have sequence numbers of their own, in the order in which they were stored."""

    def test_an_item_is_told_once_at_its_newest_place(self, ledger: Ledger, open_it: Callable[[], Ledger]) -> None:
        """In pages; users take no numbers."""
        ledger.put_items([an_item("m1"), an_item("m2")])
        ledger.put_users([new_user("u1")])
        ledger.put_items([an_item("m1", "e2"), an_item("m3")])
        for one in (ledger, open_it()):
            told = [(sequence, unpack_item(packed).item_id) for sequence, packed in one.item_page(0, 10)]
            assert told == [(2, "m2"), (3, "m1"), (4, "m3")]
            assert [sequence for sequence, _ in one.item_page(2, 1)] == [3]
            assert (one.newest_item, one.items_changed_after(2)) == (4, 2)

    def test_the_epoch_stays_when_it_is_opened_again(self, ledger: Ledger, open_it: Callable[[], Ledger]) -> None:
        """Numbers go on meaning what they meant."""
        assert ledger.epoch == open_it().epoch != ""


class TestTimes:
    """Events keep their time to the microsecond."""

    @pytest.mark.parametrize("moment", [datetime.min, datetime.max, datetime(1969, 12, 31, 23, 59, 59, 7)])
    def test_the_ends_of_the_calendar_are_read_back_exactly(self, ledger: Ledger, moment: datetime) -> None:
        """A supplier with a broken clock must not make what is stored unreadable."""
        event = Stamp("e1", moment.replace(tzinfo=UTC))
        ledger.put_items([ItemState(event, "", None, PackedItem("m1", "movies", []))])
        assert ledger.items(["m1"])["m1"].content == event


class TestWaiting:
    """Who watches items sleeps while nothing happens to items."""

    def test_a_write_of_users_wakes_no_watcher_of_items(self, ledger: Ledger) -> None:
        """Otherwise watchers would run in circles while interactions come in."""
        ledger.put_users([new_user("u1")])
        ledger.put_items([])
        assert not ledger.wait_for_change(0, timeout_seconds=0)
        ledger.put_items([an_item("m1")])
        assert ledger.wait_for_change(0, timeout_seconds=0)

    def test_the_end_of_watches_wakes_all(self, ledger: Ledger) -> None:
        """The process drains."""
        assert not ledger.draining
        ledger.end_watches()
        assert ledger.wait_for_change(0, timeout_seconds=LONG)
        assert ledger.draining


class TestSeveralProcesses:
    """Two ledgers over one Redis, as two features processes have them."""

    @pytest.fixture
    def two(self, redis_connection: str) -> Iterator[tuple[RedisLedger, RedisLedger]]:
        """Of two processes."""
        redis.Redis.from_url(f"redis://{redis_connection}").flushall()
        with closing(RedisLedger(redis_connection)) as one, closing(RedisLedger(redis_connection)) as other:
            yield one, other

    def test_one_wakes_who_waits_at_the_other(self, two: tuple[RedisLedger, RedisLedger]) -> None:
        """Long before a watcher would look by itself."""
        one, other = two
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(one.wait_for_change, 0, LONG)
            wait_until(lambda: waiting.running())
            other.put_items([an_item("m1")])
            assert waiting.result(LONG)

    def test_a_subject_is_written_by_one_at_a_time(
        self, two: tuple[RedisLedger, RedisLedger], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Others are not held up; who waits too long is told so, and may try again."""
        one, other = two
        with one.exclusive("item", ["m1", "m2"]):
            with other.exclusive("item", ["m3"]), other.exclusive("user", ["m1"]):
                pass
            monkeypatch.setattr(redis_ledger, "LEASE_WAIT_SECONDS", 0.05)
            with pytest.raises(DependencyUnavailable, match="another process"), other.exclusive("item", ["m3", "m1"]):
                pass
        with other.exclusive("item", ["m3", "m1"]) as hold:
            other.put_items([an_item("m1")], hold)
        assert one.items(["m1"])

    def test_who_stood_still_too_long_writes_no_more(
        self, two: tuple[RedisLedger, RedisLedger], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process went on with the subject when the hold had run out by itself."""
        one, other = two
        monkeypatch.setattr(redis_ledger, "LEASE_SECONDS", 0.2)
        monkeypatch.setattr(redis_ledger, "LEASE_WAIT_SECONDS", LONG)
        with one.exclusive("item", ["m1"]) as slow:
            with other.exclusive("item", ["m1"]) as quick:
                other.put_items([an_item("m1", "e2")], quick)
            with pytest.raises(DependencyUnavailable, match="ran out"):
                slow.check()
            with pytest.raises(DependencyUnavailable, match="meanwhile"):
                one.put_items([an_item("m1", "e1"), an_item("m2")], slow)
        assert one.items(["m1", "m2"]).keys() == {"m1"}
        assert one.items(["m1"])["m1"].content == stamp("e2")

    def test_a_store_that_was_emptied_is_another_epoch(
        self, two: tuple[RedisLedger, RedisLedger], redis_connection: str
    ) -> None:
        """For all processes the same one, in which nothing has happened yet."""
        one, other = two
        before = one.epoch
        other.put_items([an_item("m1"), an_item("m2")])
        assert one.wait_for_change(1, LONG)
        redis.Redis.from_url(f"redis://{redis_connection}").flushall()
        assert one.epoch == other.epoch != before
        assert not one.wait_for_change(0, timeout_seconds=0)
        other.put_items([an_item("m1")])
        assert one.wait_for_change(0, LONG)


class TestOutages:
    """Redis goes and comes."""

    def test_every_call_says_that_it_does_not_answer(self, tmp_path: Path) -> None:
        """And the next one after it has come back is answered; changes are heard of again."""
        with RedisServer(tmp_path, durable=True) as server, closing(RedisLedger(server.address)) as ledger:
            ledger.put_items([an_item("m1")])
            server.kill()
            for call in (
                lambda: ledger.items(["m1"]),
                lambda: ledger.put_items([an_item("m2")]),
                lambda: ledger.item_page(0, 10),
                lambda: ledger.epoch,
                lambda: ledger.exclusive("item", ["m1"]).__enter__(),
            ):
                with pytest.raises(DependencyUnavailable, match="ledger"):
                    call()
            server.start()
            assert ledger.items(["m1"]).keys() == {"m1"}
            with closing(RedisLedger(server.address)) as other:
                wait_until(lambda: _heard(ledger, other))


def _heard(ledger: Ledger, other: Ledger) -> bool:
    """Whether one hears what the other one puts now."""
    other.put_items([an_item("m1")])
    return ledger.wait_for_change(other.newest_item - 1, 0.1)
