"""The ledger: which events had an effect on which subject, in which order, and each one's newest packed features.

It is written after the online store, so that an event whose effect was only half stored is handled again, and read by
Watch, whose sequence numbers are the ledger's. One SQLite file, one writing process.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from loreline.client import PackedUser, Stamp, pack_item, pack_user, unpack_item, unpack_user
from services.features.ordering import ItemState, UserState

Kind = Literal["item", "user"]
MOST_VARIABLES = 500  # SQLite's limit on one statement's variables is far higher; the statement stays short

SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
    kind TEXT, id TEXT, sequence INTEGER,
    content_event TEXT, content_time_us INTEGER, content_hash TEXT,
    knowledge_event TEXT, knowledge_time_us INTEGER,
    versions TEXT, packed BLOB,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sequence ON subjects (kind, sequence);
"""
COLUMNS = "id, content_event, content_time_us, content_hash, knowledge_event, knowledge_time_us, packed"


class Ledger:
    """Reads and writes the ledger. Safe to share between threads; writers take turns."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA)
        self._changed = threading.Condition()
        self._draining = False
        self._sequence: int = self._one("SELECT coalesce(max(sequence), 0) FROM subjects")[0]

    def close(self) -> None:
        """Close the file. Watches must have ended."""
        self.end_watches()
        with self._changed:
            self._connection.close()

    def end_watches(self) -> None:
        """Wake all who wait, for the last time: the process drains."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    @property
    def draining(self) -> bool:
        """Whether watches have to end."""
        return self._draining

    def items(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """States of the items that the ledger knows, tombstones included."""
        return {row[0]: _item_state(row) for row in self._rows("item", item_ids)}

    def users(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """States of the users that the ledger knows."""
        return {row[0]: _user_state(row) for row in self._rows("user", user_ids)}

    def put_items(self, states: Iterable[ItemState]) -> None:
        """Store states, each under a sequence number of its own, and wake the watchers."""
        self._put("item", [_item_row(state) for state in states])

    def put_users(self, states: Iterable[UserState]) -> None:
        """Store states of users; watchers of items sleep on."""
        self._put("user", [_user_row(state) for state in states])

    def item_page(self, after_sequence: int, most: int) -> list[tuple[int, bytes]]:
        """The next items, at most `most`, as (sequence, packed) in the order in which they were stored."""
        sql = "SELECT sequence, packed FROM subjects WHERE kind = 'item' AND sequence > ? ORDER BY sequence LIMIT ?"
        return self._all(sql, (after_sequence, most))

    def wait_for_change(self, after_sequence: int, timeout_seconds: float) -> None:
        """Return when something was stored after a sequence number, at the timeout, or when watches have to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._draining or self._sequence > after_sequence, timeout_seconds)

    def subjects_with_knowledge(self, kind: Kind, lacking_version: str) -> list[str]:
        """Ids of living subjects with knowledge, of all or of those without an augmented vector of a version."""
        sql = "SELECT id, versions FROM subjects WHERE kind = ? AND knowledge_event != '' ORDER BY id"
        rows = self._all(sql, (kind,))
        return [subject for subject, versions in rows if lacking_version not in json.loads(versions)]

    def bulk_stamps(self, kind: Kind) -> dict[str, tuple[int, str]]:
        """Content time (microseconds) and knowledge event of every subject: what seeding compares with."""
        sql = "SELECT id, content_time_us, knowledge_event FROM subjects WHERE kind = ?"
        return {subject: (time, event) for subject, time, event in self._all(sql, (kind,))}

    def _put(self, kind: Kind, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._changed:
            numbered = [(kind, row[0], self._sequence + n, *row[1:]) for n, row in enumerate(rows, start=1)]
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO subjects VALUES (?,?,?,?,?,?,?,?,?,?)", numbered)
            self._connection.execute("COMMIT")
            self._sequence += len(rows)
            self._changed.notify_all()

    def _rows(self, kind: Kind, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(ids), MOST_VARIABLES):
            page = ids[start : start + MOST_VARIABLES]
            marks = ",".join("?" * len(page))
            yield from self._all(f"SELECT {COLUMNS} FROM subjects WHERE kind = ? AND id IN ({marks})", (kind, *page))

    def _all(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._changed:
            return self._connection.execute(sql, arguments).fetchall()

    def _one(self, sql: str) -> tuple[int]:
        row: tuple[int] = self._connection.execute(sql).fetchone()
        return row


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC."""
    return round(moment.timestamp() * 1_000_000)


def moment_of(time_us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01."""
    return datetime.fromtimestamp(time_us / 1_000_000, UTC)


def _stamp(event: str, time_us: int) -> Stamp | None:
    return Stamp(event, moment_of(time_us)) if event else None


def _item_state(row: tuple[Any, ...]) -> ItemState:
    _, event, time_us, content_hash, knowledge_event, _, packed = row
    return ItemState(Stamp(event, moment_of(time_us)), content_hash, knowledge_event, unpack_item(packed))


def _user_state(row: tuple[Any, ...]) -> UserState:
    _, event, time_us, _, knowledge_event, knowledge_time_us, packed = row
    return UserState(_stamp(event, time_us), _stamp(knowledge_event, knowledge_time_us), unpack_user(packed))


def _item_row(state: ItemState) -> tuple[Any, ...]:
    content, packed = state.content, state.packed
    stamps = (content.event_id, microseconds(content.event_time), state.content_hash, state.knowledge_event_id, 0)
    return packed.item_id, *stamps, json.dumps(list(packed.augmented)), pack_item(packed)


def _user_row(state: UserState) -> tuple[Any, ...]:
    history = (state.history.event_id, microseconds(state.history.event_time)) if state.history else ("", 0)
    knowledge = (state.knowledge.event_id, microseconds(state.knowledge.event_time)) if state.knowledge else ("", 0)
    versions = json.dumps(list(state.packed.augmented))
    return state.packed.user_id, *history, "", *knowledge, versions, pack_user(state.packed)


def new_user(user_id: str) -> UserState:
    """The state of a user of whom nothing is stored."""
    return UserState(None, None, PackedUser(user_id))
