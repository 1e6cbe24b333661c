"""Keeps answers in SQLite: texts with their provenance by key, and the newest of each item or user."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from loreline.domain import Knowledge, Provenance
from services.knowledge.database import Database

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
    """One file, which other tables may share as `database`. Writing the same answer twice changes nothing.

    Every method raises DependencyUnavailable when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.database.create(SCHEMA)

    def get_many(self, keys: Sequence[str]) -> dict[str, Knowledge]:
        """The stored answers of those keys that have one."""
        found: dict[str, Knowledge] = {}
        for start in range(0, len(keys), LOOKUP_KEYS):
            part = keys[start : start + LOOKUP_KEYS]
            marks = ",".join("?" * len(part))
            rows = self.database.read(f"SELECT key, text, provenance FROM answers WHERE key IN ({marks})", part)
            found |= {key: knowledge_of_row(text, provenance) for key, text, provenance in rows}
        return found

    def put(self, knowledge: Knowledge) -> None:
        """Keep an answer under its provenance's key; an answer that is there already stays."""
        self.put_many([knowledge])

    def put_many(self, answers: Sequence[Knowledge]) -> int:
        """Keep answers, all or none of them; returns how many of their keys were new."""
        rows = [
            (known.provenance.key, known.text, provenance_json(known.provenance), _time(known)) for known in answers
        ]
        return self.database.write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", *rows)

    def link(self, kind: str, subject_id: str, key: str) -> None:
        """Note that the answer of `key` is about a subject (kind `item` or `user`)."""
        self.link_many([(kind, subject_id, key)])

    def link_many(self, links: Sequence[tuple[str, str, str]]) -> None:
        """Note several times (kind, subject's id, answer's key), all or none of them."""
        self.database.write("INSERT OR IGNORE INTO subjects VALUES (?, ?, ?)", *links)

    def newest(self, kind: str, subject_id: str) -> Knowledge | None:
        """The subject's answer that was written last, or None."""
        rows = self.database.read(
            "SELECT text, provenance FROM subjects JOIN answers USING (key) "
            "WHERE kind = ? AND id = ? ORDER BY created_time DESC, key LIMIT 1",
            (kind, subject_id),
        )
        return knowledge_of_row(*rows[0]) if rows else None

    def answers(self) -> bool:
        """Whether the file can be read."""
        self.database.read("SELECT 1 FROM answers LIMIT 1")
        return True

    def close(self) -> None:
        """Close the file; call it when nothing uses the store any more."""
        self.database.close()


def provenance_json(provenance: Provenance) -> str:
    """A provenance as a column holds it."""
    fields = dataclasses.asdict(provenance) | {"created_time": provenance.created_time.isoformat()}
    return json.dumps(fields, ensure_ascii=False)


def knowledge_of_row(text: str, provenance: str) -> Knowledge:
    """The knowledge of a text and of its provenance's column."""
    fields = json.loads(provenance)
    fields["created_time"] = datetime.fromisoformat(fields["created_time"])
    fields["factors"] = tuple(fields["factors"])
    return Knowledge(text, Provenance(**fields))


def _time(knowledge: Knowledge) -> str:
    return knowledge.provenance.created_time.isoformat()
