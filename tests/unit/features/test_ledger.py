"""The ledger's file: one of an earlier version, its order of changes, and what waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from loreline.client import pack_item, pack_user
from loreline.domain import PackedItem, PackedUser, Stamp
from services.features import ordering
from services.features.ledger import Ledger
from services.features.ledger_rows import new_user
from services.features.ordering import ItemState, WriteOutcome
from tests.unit.features.feature_samples import NOON, film, stamp, vectors, watched

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
NOON_US = int(NOON.timestamp()) * 1_000_000
ONES = {"1": np.ones(4, dtype=np.float32)}


@pytest.fixture
def old_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A file as version 0.1.0 wrote it: an item and a user with knowledge, of event e1 at noon."""
    item = pack_item(PackedItem("m1", "movies", ["Drama", "1990"], ONES))
    user = pack_user(PackedUser("u1", ["a", "b"], [4, 5], [100, 200], ONES))
    hashed = ordering.content_hash(film())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.executescript(OLD_TABLE)
        put = "INSERT INTO subjects VALUES (?,?,?,?,?,?,?,?,?,?)"
        connection.execute(put, ("item", "m1", 7, "e1", NOON_US, hashed, "e1", 0, '["1"]', item))
        connection.execute(put, ("user", "u1", 8, "h1", 200_000_000, "", "e1", NOON_US, '["1"]', user))
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


class TestEarlierVersion:
    """Files that were written before answers and events were kept."""

    def test_states_are_read_as_they_were(self, old_ledger: Ledger) -> None:
        """The answer is unknown, and no entry has an event."""
        item, user = old_ledger.items(["m1"])["m1"], old_ledger.users(["u1"])["u1"]
        assert (item.content, item.knowledge, item.answer) == (stamp("e1"), stamp("e1"), None)
        assert (user.packed.item_ids, user.events.ids) == (["a", "b"], ["", ""])
        assert user.events.times_us == [100_000_000, 200_000_000]
        assert old_ledger.item_page(0, 10) == [(7, item.value)]

    def test_knowledge_of_the_same_event_is_replaced_once(self, old_ledger: Ledger) -> None:
        """From then on it is known which answer is stored."""
        outcome, state = ordering.with_knowledge(old_ledger.items(["m1"])["m1"], stamp("e1"), vectors())
        assert outcome is WriteOutcome.APPLIED
        assert state is not None
        old_ledger.put_items([state])
        again, _ = ordering.with_knowledge(old_ledger.items(["m1"])["m1"], stamp("e1"), vectors())
        assert again is WriteOutcome.DUPLICATE

    def test_events_join_an_old_history(self, old_ledger: Ledger) -> None:
        """And are known afterwards."""
        outcome, state = ordering.with_interaction(old_ledger.users(["u1"])["u1"], watched("e5", item_id="c"))
        assert outcome is WriteOutcome.APPLIED
        old_ledger.put_users([state])
        stored = old_ledger.users(["u1"])["u1"]
        assert (stored.packed.item_ids, stored.events.ids) == (["a", "b", "c"], ["", "", "e5"])

    def test_opening_it_again_changes_nothing(self, old_ledger: Ledger, tmp_path: Path) -> None:
        """The columns are added once."""
        with closing(Ledger(tmp_path / "ledger.db")) as again:
            assert again.item_page(0, 10) == old_ledger.item_page(0, 10)


class TestTimes:
    """Events keep their time to the microsecond."""

    @pytest.mark.parametrize("moment", [datetime.min, datetime.max, datetime(1969, 12, 31, 23, 59, 59, 7)])
    def test_the_ends_of_the_calendar_are_read_back_exactly(self, tmp_path: Path, moment: datetime) -> None:
        """A supplier with a broken clock must not make the file unreadable."""
        with closing(Ledger(tmp_path / "ledger.db")) as ledger:
            event = Stamp("e1", moment.replace(tzinfo=UTC))
            ledger.put_items([ItemState(event, "", None, PackedItem("m1", "movies", []))])
            assert ledger.items(["m1"])["m1"].content == event


class TestWaiting:
    """Who watches items sleeps while nothing happens to items."""

    def test_a_write_of_users_wakes_no_watcher_of_items(self, tmp_path: Path) -> None:
        """Otherwise watchers would run in circles while interactions come in."""
        with closing(Ledger(tmp_path / "ledger.db")) as ledger:
            ledger.put_users([new_user("u1")])
            ledger.put_items([])
            assert not ledger.wait_for_change(0, timeout_seconds=0)
            ledger.put_items([ItemState(stamp("e1"), "", None, PackedItem("m1", "movies", []))])
            assert ledger.wait_for_change(0, timeout_seconds=0)
