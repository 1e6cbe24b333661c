"""The ledger: which events had an effect on which subject, in which order, and each one's newest packed features.

It is written after the online store, so that an event whose effect was only half stored is handled again, and read by
Watch, whose epoch and sequence numbers are the ledger's. Items and users have sequence numbers of their own. One SQLite
file, one writing process.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from services.features.ledger_rows import (
    COLUMNS,
    STATE_COLUMNS,
    Row,
    item_row,
    item_state,
    migrate,
    user_row,
    user_state,
)
from services.features.ordering import ItemState, UserState, etag

Kind = Literal["item", "user"]
S = TypeVar("S", ItemState, UserState)
KINDS: tuple[Kind, ...] = ("item", "user")
MOST_VARIABLES = 500  # SQLite's limit on one statement's variables is far higher; the statement stays short
STATE = f"SELECT {', '.join(STATE_COLUMNS)} FROM subjects WHERE kind = ?"
PUT = f"INSERT OR REPLACE INTO subjects ({', '.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))})"


class Ledger:
    """Reads and writes the ledger. Safe to share between threads; writers take turns.

    `epoch` names this ledger among those that there were before it: a sequence number has a meaning in its epoch alone.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        migrate(self._connection)
        self._changed = threading.Condition()
        self._draining = False
        self.epoch: str = self._all("SELECT value FROM properties WHERE name = 'epoch'")[0][0]
        self._widths: dict[str, int] = dict(self._all("SELECT encoder, width FROM encoder_widths"))
        newest = "SELECT coalesce(max(sequence), 0) FROM subjects WHERE kind = ?"
        self._newest: dict[Kind, int] = {kind: self._number(newest, kind) for kind in KINDS}

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
        return {row[0]: item_state(row) for row in self._rows("item", item_ids)}

    def users(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """States of the users that the ledger knows."""
        return {row[0]: user_state(row) for row in self._rows("user", user_ids)}

    def items_after(self, item_id: str, most: int) -> list[ItemState]:
        """The next items in the order of their ids, tombstones included."""
        return [item_state(row) for row in self._following("item", item_id, most)]

    def users_after(self, user_id: str, most: int) -> list[UserState]:
        """The next users in the order of their ids."""
        return [user_state(row) for row in self._following("user", user_id, most)]

    def put_items(self, states: Iterable[ItemState]) -> None:
        """Store states in one transaction, each under a sequence number of its own, and wake the watchers."""
        with self._changed:
            self._put("item", item_row, states)
            self._changed.notify_all()

    def put_users(self, states: Iterable[UserState]) -> None:
        """Store states of users in one transaction; watchers of items sleep on."""
        with self._changed:
            self._put("user", user_row, states)

    @property
    def newest_item(self) -> int:
        """The sequence number of the item that was stored last; 0 where there is none."""
        return self._newest["item"]

    def item_page(self, after_sequence: int, most: int) -> list[tuple[int, bytes]]:
        """The next items, at most `most`, as (sequence, packed) in the order in which they were stored."""
        sql = "SELECT sequence, packed FROM subjects WHERE kind = 'item' AND sequence > ? ORDER BY sequence LIMIT ?"
        return self._all(sql, (after_sequence, most))

    def items_changed_after(self, sequence: int) -> int:
        """How many items have their newest state after a sequence number."""
        return self._number("SELECT count(*) FROM subjects WHERE kind = 'item' AND sequence > ?", sequence)

    def count(self, kind: Kind) -> int:
        """How many subjects the ledger knows, tombstones included."""
        return self._number("SELECT count(*) FROM subjects WHERE kind = ?", kind)

    def wait_for_change(self, after_sequence: int, timeout_seconds: float) -> bool:
        """Wait until an item is stored after a sequence number or watches have to end; False at the timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._draining or self._newest["item"] > after_sequence, timeout_seconds
            )

    def subjects_with_knowledge(self, kind: Kind, lacking_version: str) -> list[str]:
        """Ids of living subjects with knowledge, of all or of those without an augmented vector of a version."""
        sql = "SELECT id, versions FROM subjects WHERE kind = ? AND knowledge_event != '' ORDER BY id"
        rows = self._all(sql, (kind,))
        return [subject for subject, versions in rows if lacking_version not in json.loads(versions)]

    def etags(self, kind: Kind, ids: Sequence[str]) -> dict[str, str]:
        """What names the knowledge of those of some subjects that have any, in their order."""
        states = self.items(ids) if kind == "item" else self.users(ids)
        return {subject: etag(states[subject]) for subject in ids if subject in states and states[subject].knowledge}

    def width(self, encoder: str) -> int:
        """The width of an encoder's vectors; 0 where none was stored."""
        return self._widths.get(encoder, 0)

    def keep_width(self, encoder: str, width: int) -> None:
        """Let an encoder's vectors have this width from now on."""
        if self._widths.get(encoder) != width:
            with self._changed:
                self._connection.execute("INSERT OR REPLACE INTO encoder_widths VALUES (?, ?)", (encoder, width))
                self._widths[encoder] = width

    def bulk_stamps(self, kind: Kind) -> dict[str, tuple[int, str]]:
        """Content time (microseconds) and knowledge event of every subject: what seeding compares with."""
        sql = "SELECT id, content_time_us, knowledge_event FROM subjects WHERE kind = ?"
        return {subject: (time, event) for subject, time, event in self._all(sql, (kind,))}

    def _put(self, kind: Kind, row: Callable[[int, S], Row], states: Iterable[S]) -> None:
        rows = [row(sequence, state) for sequence, state in enumerate(states, start=self._newest[kind] + 1)]
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:  # commits, or rolls back
            self._connection.executemany(PUT, rows)
        self._newest[kind] += len(rows)

    def _rows(self, kind: Kind, ids: Sequence[str]) -> Iterator[Row]:
        for start in range(0, len(ids), MOST_VARIABLES):
            page = ids[start : start + MOST_VARIABLES]
            yield from self._all(f"{STATE} AND id IN ({','.join('?' * len(page))})", (kind, *page))

    def _following(self, kind: Kind, after: str, most: int) -> list[Row]:
        return self._all(f"{STATE} AND id > ? ORDER BY id LIMIT ?", (kind, after, most))

    def _number(self, sql: str, *arguments: object) -> int:
        number: int = self._all(sql, arguments)[0][0]
        return number

    def _all(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._changed:
            return self._connection.execute(sql, arguments).fetchall()
