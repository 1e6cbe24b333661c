"""Keeps the texts of language models that were written and must never be served, for people to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from loreline.client.knowledge import Suspect
from loreline.domain import canonical_json
from services.knowledge.store import knowledge_of_row, provenance_json
from services.runtime.sqlite_file import SqliteFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS suspects (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    scenario TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    text TEXT NOT NULL,
    provenance TEXT NOT NULL
);
"""


class SuspectStore:
    """A table of its own, so that no read of knowledge can come upon it. Raises DependencyUnavailable."""

    def __init__(self, database: SqliteFile) -> None:
        self._database = database
        database.create(SCHEMA)

    def put(self, suspect: Suspect) -> None:
        """Keep a suspect; the same text about the same subject for the same reason is kept once."""
        source = suspect.knowledge.provenance
        what = [suspect.subject_kind, suspect.subject_id, source.scenario, suspect.reason]
        digest = hashlib.sha256(canonical_json([*what, suspect.knowledge.text]).encode()).hexdigest()
        row = (digest, *what, suspect.detail, suspect.knowledge.text, provenance_json(source))
        self._database.write(
            "INSERT OR IGNORE INTO suspects (digest, kind, id, scenario, reason, detail, text, provenance) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )

    def newest(self, scenario: str, reason: str, most: int) -> Iterator[Suspect]:
        """Yield up to `most` suspects, newest first; an empty scenario or reason stands for any."""
        rows = self._database.read(
            "SELECT kind, id, text, provenance, reason, detail FROM suspects "
            "WHERE ? IN ('', scenario) AND ? IN ('', reason) ORDER BY number DESC LIMIT ?",
            (scenario, reason, most),
        )
        for kind, subject_id, text, provenance, why, detail in rows:
            yield Suspect(kind, subject_id, knowledge_of_row(text, provenance), why, detail)
