"""Knowledge texts that were written elsewhere, as rows of the feature store, and such rows as texts again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from loreline.client import EmbeddingClient
from loreline.domain import Knowledge, Provenance, canonical_json
from services.trainer.data.knowledge_rows import KnowledgeRow
from services.trainer.knowledge.bulk import OnDone, pages
from services.trainer.knowledge.files import KnowledgeText
from services.trainer.knowledge.vector_files import ReadyVector

PROVIDER = "import"
UNKNOWN_MODEL = "unknown"


class OtherEncoder(Exception):
    """The stored vectors that would stay are of another encoder than the new ones; the message names both."""


@dataclass(frozen=True)
class Refused:
    """A row of a file that was not taken, and why."""

    row: int
    subject_id: str
    why: str


class UnfitText(Exception):
    """A text failed a check; the message says which."""


def sort_out(
    texts: Sequence[KnowledgeText], known_ids: Set[str], check: Callable[[KnowledgeText], str]
) -> tuple[list[KnowledgeText], list[Refused]]:
    """The texts to take, as `check` returns them, and the refused ones: unknown ids, second ones, unfit texts.

    `check` raises UnfitText.
    """
    taken: dict[str, KnowledgeText] = {}
    refused: list[Refused] = []
    for text in texts:
        try:
            taken[text.subject_id] = replace(text, text=_checked(text, taken, known_ids, check))
        except UnfitText as error:
            refused.append(Refused(text.row, text.subject_id, str(error)))
    return list(taken.values()), refused


def rows_of(
    texts: Sequence[KnowledgeText],
    scenario: str,
    subject: str,
    embedding: EmbeddingClient,
    progress: OnDone,
    model: str = "",
) -> list[KnowledgeRow]:
    """The texts with their vectors and a provenance of provider `import`; `model` where a text names none.

    Raises loreline.client.ClientError.
    """
    return list(_encoded(texts, scenario, subject, embedding, progress, model or UNKNOWN_MODEL))


def rows_with_vectors(
    texts: Sequence[KnowledgeText], vectors: Mapping[int, ReadyVector], scenario: str, subject: str, model: str = ""
) -> list[KnowledgeRow]:
    """The same of texts whose vectors, by the texts' rows, are ready-made."""
    rows = []
    for text in texts:
        ready = vectors[text.row]
        knowledge = Knowledge(text.text, _provenance(text, scenario, subject, text.model or model or UNKNOWN_MODEL))
        rows.append(KnowledgeRow(text.subject_id, knowledge, ready.encoder, ready.vector, ready.augmented))
    return rows


def merged(stored: Sequence[KnowledgeRow], new: Sequence[KnowledgeRow]) -> list[KnowledgeRow]:
    """The stored rows, those of the new ones' subjects replaced. Raises OtherEncoder."""
    fresh = {row.subject_id: row for row in new}
    kept = [row for row in stored if row.subject_id not in fresh]
    encoders = {row.encoder for row in (*kept, *new)}
    if len(encoders) > 1:
        raise OtherEncoder(
            f"{len(kept)} vectors that would stay are of another encoder ({' and '.join(sorted(encoders))}): import "
            "texts for all of them, or run `loreline knowledge build` with this encoder first"
        )
    return [*kept, *new]


def texts_of(rows: Sequence[KnowledgeRow]) -> list[KnowledgeText]:
    """The rows' texts with who wrote them, and with the prompt where an import brought it."""
    return [_text_of(number, row) for number, row in enumerate(rows, start=1)]


def _checked(
    text: KnowledgeText, taken: dict[str, KnowledgeText], known_ids: Set[str], check: Callable[[KnowledgeText], str]
) -> str:
    if text.subject_id not in known_ids:
        raise UnfitText("unknown id: the loaded dataset has no such subject")
    if text.subject_id in taken:
        raise UnfitText(f"second text: row {taken[text.subject_id].row} has the same id")
    return check(text)


def _encoded(
    texts: Sequence[KnowledgeText],
    scenario: str,
    subject: str,
    embedding: EmbeddingClient,
    progress: OnDone,
    model: str,
) -> Iterator[KnowledgeRow]:
    for page in pages(texts):
        encoded = embedding.encode([text.text for text in page])
        for text, vector in zip(page, encoded.vectors, strict=True):
            knowledge = Knowledge(text.text, _provenance(text, scenario, subject, text.model or model))
            yield KnowledgeRow(text.subject_id, knowledge, encoded.encoder, vector)
        progress(len(page))


def _provenance(text: KnowledgeText, scenario: str, subject: str, model: str) -> Provenance:
    given = {"prompt": text.prompt, "provider": text.provider}
    parameters = canonical_json({name: value for name, value in given.items() if value})
    words = [PROVIDER, model, scenario, subject, parameters, text.text]
    return Provenance(
        key=hashlib.sha256(canonical_json(words).encode()).hexdigest(),
        provider=PROVIDER,
        model=model,
        scenario=scenario,
        prompt_version=0,
        factors=(),
        prompt_tokens=0,
        completion_tokens=0,
        finish_reason="",
        created_time=datetime.now(UTC),
        parameters_json=parameters,
    )


def _text_of(number: int, row: KnowledgeRow) -> KnowledgeText:
    source = row.knowledge.provenance
    brought = json.loads(source.parameters_json) if source.provider == PROVIDER else {"provider": source.provider}
    return KnowledgeText(
        number,
        row.subject_id,
        row.knowledge.text,
        prompt=brought.get("prompt", ""),
        model=source.model,
        provider=brought.get("provider", ""),
    )
