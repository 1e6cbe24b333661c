"""What people and the knowledge topic ask of the store: texts that were set aside, and answers brought back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loreline.client.knowledge import Suspect
from loreline.client.messages import Record
from services.knowledge.limits import check_records, check_suspects_request
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore

LISTED_BY_DEFAULT = 100


class Archive:
    """Every method raises InvalidRequest, DependencyUnavailable (the store)."""

    def __init__(self, store: KnowledgeStore, suspects: SuspectStore) -> None:
        self._store, self._suspects = store, suspects

    def restore(self, records: Sequence[Record]) -> int:
        """Keep 1 to 256 answers and what they are about; returns how many were new. Doing it twice changes nothing."""
        check_records(records)
        restored = self._store.put_many([record.knowledge for record in records])
        sources = [(record, record.knowledge.provenance) for record in records]
        links = [(record.subject, record.subject_id, source.key, source.created_time) for record, source in sources]
        self._store.link_many(links)
        return restored

    def suspects(self, scenario: str, reason: str, most: int) -> Iterator[Suspect]:
        """Yield suspects, newest first; an empty scenario or reason stands for any, `most` 0 for 100."""
        check_suspects_request(scenario, most)
        yield from self._suspects.newest(scenario, reason, most or LISTED_BY_DEFAULT)
