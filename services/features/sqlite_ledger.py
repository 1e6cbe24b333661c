"""The ledger in one SQLite file, for one features process."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.features.ledger import KINDS, Hold, Kind, Ledger
from services.features.ledger_rows import COLUMNS, STATE_COLUMNS, Row
from services.runtime.sqlite_file import SqliteFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
    kind TEXT, id TEXT, sequence INTEGER,
    content_event TEXT, content_time_us INTEGER, content_hash TEXT,
    knowledge_event TEXT, knowledge_time_us INTEGER,
    versions TEXT, packed BLOB,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sequence ON subjects (kind, sequence);
CREATE TABLE IF NOT EXISTS properties (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS encoder_widths (encoder TEXT PRIMARY KEY, width INTEGER) WITHOUT ROWID;
"""
ADDED = {  # columns that files of earlier versions lack
    "answer_key": "TEXT NOT NULL DEFAULT ''",
    "answer_created_us": "INTEGER NOT NULL DEFAULT 0",
    "answer_encoder": "TEXT NOT NULL DEFAULT ''",
    "history_event_ids": "TEXT NOT NULL DEFAULT ''",
    "history_times_us": "BLOB NOT NULL DEFAULT x''",
}
MOST_VARIABLES = 500  # SQLite's limit on one statement's variables is far higher; the statement stays short
STATE = f"SELECT {', '.join(STATE_COLUMNS)} FROM subjects WHERE kind = ?"
PUT = f"INSERT OR REPLACE INTO subjects (kind, sequence, {', '.join(COLUMNS)}) VALUES (?,?{',?' * len(COLUMNS)})"


class _ProcessHold:
    """While this process alone writes, nobody takes a hold away."""

    def check(self) -> None:
        """See Hold."""


class SqliteLedger(Ledger):
    """See Ledger. Writers of one kind of subject take turns."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = _opened(path)
        self._writing = {kind: threading.Lock() for kind in KINDS}
        self._epoch: str = self._file.read("SELECT value FROM properties WHERE name = 'epoch'")[0][0]
        self._widths: dict[str, int] = dict(self._file.read("SELECT encoder, width FROM encoder_widths"))
        newest = "SELECT coalesce(max(sequence), 0) FROM subjects WHERE kind = ?"
        self._newest: dict[Kind, int] = {kind: self._number(newest, kind) for kind in KINDS}

    def close(self) -> None:
        """See Ledger."""
        self.end_watches()
        self._file.close()

    @contextmanager
    def exclusive(self, kind: Kind, ids: Iterable[str]) -> Iterator[Hold]:  # noqa: ARG002  all are held
        """See Ledger."""
        with self._writing[kind]:
            yield _ProcessHold()

    @property
    def epoch(self) -> str:
        """See Ledger."""
        return self._epoch

    @property
    def newest_item(self) -> int:
        """See Ledger."""
        return self._newest["item"]

    def item_page(self, after_sequence: int, most: int) -> list[tuple[int, bytes]]:
        """See Ledger."""
        sql = "SELECT sequence, packed FROM subjects WHERE kind = 'item' AND sequence > ? ORDER BY sequence LIMIT ?"
        return self._file.read(sql, (after_sequence, most))

    def items_changed_after(self, sequence: int) -> int:
        """See Ledger."""
        return self._number("SELECT count(*) FROM subjects WHERE kind = 'item' AND sequence > ?", sequence)

    def count(self, kind: Kind) -> int:
        """See Ledger."""
        return self._number("SELECT count(*) FROM subjects WHERE kind = ?", kind)

    def subjects_with_knowledge(self, kind: Kind, lacking_version: str) -> list[str]:
        """See Ledger."""
        sql = "SELECT id, versions FROM subjects WHERE kind = ? AND knowledge_event != '' ORDER BY id"
        rows = self._file.read(sql, (kind,))
        return [subject for subject, versions in rows if lacking_version not in json.loads(versions)]

    def bulk_stamps(self, kind: Kind) -> dict[str, tuple[int, str]]:
        """See Ledger."""
        sql = "SELECT id, content_time_us, knowledge_event FROM subjects WHERE kind = ?"
        return {subject: (time, event) for subject, time, event in self._file.read(sql, (kind,))}

    def width(self, encoder: str) -> int:
        """See Ledger."""
        return self._widths.get(encoder, 0)

    def keep_width(self, encoder: str, width: int) -> None:
        """See Ledger."""
        if self._widths.get(encoder) != width:
            self._file.write("INSERT OR REPLACE INTO encoder_widths VALUES (?, ?)", (encoder, width))
            self._widths[encoder] = width

    def _rows(self, kind: Kind, ids: Sequence[str]) -> Iterator[Row]:
        for start in range(0, len(ids), MOST_VARIABLES):
            page = ids[start : start + MOST_VARIABLES]
            yield from self._file.read(f"{STATE} AND id IN ({','.join('?' * len(page))})", (kind, *page))

    def _following(self, kind: Kind, after: str, most: int) -> list[Row]:
        return self._file.read(f"{STATE} AND id > ? ORDER BY id LIMIT ?", (kind, after, most))

    def _put(self, kind: Kind, rows: Sequence[Row], hold: Hold | None) -> None:  # noqa: ARG002  it cannot end
        with self._changed:
            numbered = [(kind, sequence, *row) for sequence, row in enumerate(rows, start=self._newest[kind] + 1)]
            self._file.write(PUT, *numbered)
            self._newest[kind] += len(rows)
            if kind == "item":
                self._changed.notify_all()

    def _heard_of(self) -> int:
        return self._newest["item"]

    def _number(self, sql: str, *arguments: str | int) -> int:
        number: int = self._file.read(sql, arguments)[0][0]
        return number


def _opened(path: Path) -> SqliteFile:
    """The file, brought up to date where an earlier version wrote it; rows stay as they are."""
    file = SqliteFile(path, "ledger")
    file.create(SCHEMA)
    for name, declaration in ADDED.items():
        file.add_column("subjects", f"{name} {declaration}")
    file.write("INSERT OR IGNORE INTO properties VALUES ('epoch', ?)", (uuid.uuid4().hex,))
    return file
