"""Keeps answers in SQLite: texts with their provenance by key, and the newest of each item or user."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from services.runtime.errors import DependencyUnavailable
from services.scenarios import Knowledge, Provenance

BUSY_TIMEOUT_SECONDS = 5.0
LOOKUP_KEYS = 500  # below SQLite's limit of variables in one statement
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created_time TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subjects (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL REFERENCES answers (key),
    PRIMARY KEY (kind, id, key)
) WITHOUT ROWID;
"""


class KnowledgeStore:
    """One file, one connection that threads share. Writing the same answer twice changes nothing.

    Every method raises DependencyUnavailable when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with _store_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last answers, no more
            self._connection.executescript(SCHEMA)

    def get_many(self, keys: Sequence[str]) -> dict[str, Knowledge]:
        """The stored answers of those keys that have one."""
        found: dict[str, Knowledge] = {}
        for start in range(0, len(keys), LOOKUP_KEYS):
            part = keys[start : start + LOOKUP_KEYS]
            marks = ",".join("?" * len(part))
            rows = self._read(f"SELECT key, text, provenance FROM answers WHERE key IN ({marks})", part)
            found |= {key: _knowledge(text, provenance) for key, text, provenance in rows}
        return found

    def put(self, knowledge: Knowledge) -> None:
        """Keep an answer under its provenance's key; an answer that is there already stays."""
        source = knowledge.provenance
        values = (source.key, knowledge.text, _provenance_json(source), source.created_time.isoformat())
        self._write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", values)

    def link(self, kind: str, subject_id: str, key: str) -> None:
        """Note that the answer of `key` is about a subject (kind `item` or `user`)."""
        self._write("INSERT OR IGNORE INTO subjects VALUES (?, ?, ?)", (kind, subject_id, key))

    def newest(self, kind: str, subject_id: str) -> Knowledge | None:
        """The subject's answer that was written last, or None."""
        rows = self._read(
            "SELECT text, provenance FROM subjects JOIN answers USING (key) "
            "WHERE kind = ? AND id = ? ORDER BY created_time DESC, key LIMIT 1",
            (kind, subject_id),
        )
        return _knowledge(*rows[0]) if rows else None

    def answers(self) -> bool:
        """Whether the file can be read."""
        self._read("SELECT 1 FROM answers LIMIT 1", ())
        return True

    def close(self) -> None:
        """Close the file; call it when nothing uses the store any more."""
        with self._lock:
            self._connection.close()

    def _read(self, statement: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        with self._lock, _store_errors():
            return self._connection.execute(statement, values).fetchall()

    def _write(self, statement: str, values: Sequence[str]) -> None:
        with self._lock, _store_errors(), self._connection:
            self._connection.execute(statement, values)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DependencyUnavailable("the knowledge store", str(error)) from error


def _provenance_json(provenance: Provenance) -> str:
    fields = dataclasses.asdict(provenance) | {"created_time": provenance.created_time.isoformat()}
    return json.dumps(fields, ensure_ascii=False)


def _knowledge(text: str, provenance: str) -> Knowledge:
    fields = json.loads(provenance)
    fields["created_time"] = datetime.fromisoformat(fields["created_time"])
    fields["factors"] = tuple(fields["factors"])
    return Knowledge(text, Provenance(**fields))
