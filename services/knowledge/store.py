"""Keeps answers in SQLite: texts with their provenance by key, and the newest of each item or user."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from loreline.domain import Knowledge, Provenance, microseconds
from services.runtime.sqlite_file import SqliteFile

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
    given_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id, key)
) WITHOUT ROWID;
"""

PUT = "INSERT INTO answers VALUES (?, ?, ?, ?)"
REPLACED = "text = excluded.text, provenance = excluded.provenance, created_time = excluded.created_time"
IS_FALLBACK = "json_extract(answers.provenance, '$.fallback_reason') != ''"
LINK = (
    "INSERT INTO subjects (kind, id, key, given_us) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (kind, id, key) DO UPDATE SET given_us = max(given_us, excluded.given_us)"
)


class KnowledgeStore:
    """One file, which other tables may share as `database`. Writing the same answer twice changes nothing.

    Every method raises DependencyUnavailable when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.database = SqliteFile(path, "the knowledge store")
        self.database.create(SCHEMA)
        self.database.add_column("subjects", "given_us INTEGER NOT NULL DEFAULT 0")

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
        """Keep an answer under its provenance's key. One that is there stays, but for what a fallback wrote."""
        self.database.write(f"{PUT} ON CONFLICT (key) DO UPDATE SET {REPLACED} WHERE {IS_FALLBACK}", _row(knowledge))

    def put_many(self, answers: Sequence[Knowledge]) -> int:
        """Keep answers whose keys are new, all or none of them; returns how many."""
        return self.database.write(f"{PUT} ON CONFLICT (key) DO NOTHING", *[_row(known) for known in answers])

    def link(self, kind: str, subject_id: str, key: str, given: datetime) -> None:
        """Note that the answer of `key` was given for a subject (kind `item` or `user`) at that moment."""
        self.link_many([(kind, subject_id, key, given)])

    def link_many(self, links: Sequence[tuple[str, str, str, datetime]]) -> None:
        """Note several times (kind, subject's id, answer's key, moment), all or none of them."""
        rows = [(kind, subject_id, key, microseconds(given)) for kind, subject_id, key, given in links]
        self.database.write(LINK, *rows)

    def newest(self, kind: str, subject_id: str) -> Knowledge | None:
        """The answer that was given for the subject last, or None: content that came back has its old answer again."""
        rows = self.database.read(
            "SELECT text, provenance FROM subjects JOIN answers USING (key) "
            "WHERE kind = ? AND id = ? ORDER BY given_us DESC, created_time DESC, key LIMIT 1",
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


def _row(knowledge: Knowledge) -> tuple[str, str, str, str]:
    source = knowledge.provenance
    return source.key, knowledge.text, provenance_json(source), source.created_time.isoformat()
