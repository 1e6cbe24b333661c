"""Reads and writes knowledge texts as files, so that the texts of any language model drop in.

.json     {id: {"prompt", "ans", ...}}, the layout of KAR's published texts
.jsonl    one object a line: {"id", "text" or "ans", "prompt"?, "model"?, "provider"?}
.parquet  the same columns
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXT_FIELDS = ("text", "ans")
OPTIONAL_FIELDS = ("prompt", "model", "provider")
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "prompt", "text", "model", "provider")])
Row = tuple[int, str, Mapping[str, Any]]  # its number from 1, the id, the other fields


class InvalidKnowledgeFile(Exception):
    """The file cannot be read or has another layout; the message names file, row and field."""


@dataclass(frozen=True)
class KnowledgeText:
    """One subject's text. `row` counts the file's entries, lines or rows from 1; the rest is empty when not given."""

    row: int
    subject_id: str
    text: str
    prompt: str = ""
    model: str = ""
    provider: str = ""


def read_texts(path: Path) -> list[KnowledgeText]:
    """The file's texts in its order, ids that occur twice included. Raises InvalidKnowledgeFile."""
    read = _handler(path, READERS)
    try:
        return [_text(path, row) for row in read(path)]
    except OSError as error:
        raise InvalidKnowledgeFile(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidKnowledgeFile(f"{path}: must be UTF-8: {error.reason} at byte {error.start}") from error


def write_texts(path: Path, texts: Sequence[KnowledgeText]) -> None:
    """Write texts so that `read_texts` reads the same ones. Raises InvalidKnowledgeFile."""
    write = _handler(path, WRITERS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, texts)
    except OSError as error:
        raise InvalidKnowledgeFile(f"{path}: {error.strerror or error}") from error


def texts_of_rows(path: Path, table: pa.Table, first: int) -> list[KnowledgeText]:
    """The texts of a table with the layout's columns, counted from `first`. Raises InvalidKnowledgeFile."""
    return [_text(path, row) for row in _rows(path, table, first)]


def check_name(path: Path) -> None:
    """Raises InvalidKnowledgeFile when the file's ending tells no layout."""
    _handler(path, READERS)


def _handler(path: Path, handlers: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix.lower() not in handlers:
        raise InvalidKnowledgeFile(f"{path}: its name must end with {', '.join(handlers)}")
    return handlers[path.suffix.lower()]


class _Pairs(list[tuple[str, Any]]):
    """An object's pairs as they stand in the file: a dict would drop a name that occurs twice."""


def _read_json(path: Path) -> Iterator[Row]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise InvalidKnowledgeFile(f"{path}: must be JSON: {error}") from error
    if not isinstance(document, _Pairs):
        raise InvalidKnowledgeFile(f'{path}: must be one object, {{id: {{"prompt", "ans"}}}}')
    for number, (subject_id, entry) in enumerate(document, start=1):
        if not isinstance(entry, _Pairs):
            raise InvalidKnowledgeFile(f"{path}, entry {number} ({subject_id!r}): must be an object")
        yield number, subject_id, dict(entry)


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidKnowledgeFile(f"{path}, row {number}: must be a JSON object: {error}") from error
        if not isinstance(entry, dict):
            raise InvalidKnowledgeFile(f"{path}, row {number}: must be a JSON object, is {type(entry).__name__}")
        yield number, _id(path, number, entry), entry


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise InvalidKnowledgeFile(f"{path}: must be Parquet: {error}") from error
    yield from _rows(path, table, first=1)


def _rows(path: Path, table: pa.Table, first: int) -> Iterator[Row]:
    for number, entry in enumerate((row for batch in table.to_batches() for row in batch.to_pylist()), start=first):
        yield number, _id(path, number, entry), entry


def _id(path: Path, number: int, entry: Mapping[str, Any]) -> str:
    value = entry.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidKnowledgeFile(f"{path}, row {number}: id: must be text or a whole number, is {value!r}")
    return str(value)


def _text(path: Path, row: Row) -> KnowledgeText:
    number, subject_id, entry = row
    given = [name for name in TEXT_FIELDS if entry.get(name) is not None]
    if len(given) != 1:
        raise InvalidKnowledgeFile(f"{path}, row {number}: must have one of {' and '.join(TEXT_FIELDS)}, has {given}")
    fields = {name: entry[name] for name in (given[0], *OPTIONAL_FIELDS) if entry.get(name) is not None}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise InvalidKnowledgeFile(f"{path}, row {number}: {name}: must be text, is {type(value).__name__}")
    return KnowledgeText(number, subject_id, fields.pop(given[0]), **fields)


def _write_json(path: Path, texts: Iterable[KnowledgeText]) -> None:
    entries = {
        text.subject_id: {"prompt": text.prompt, "ans": text.text, "model": text.model, "provider": text.provider}
        for text in texts
    }
    path.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_jsonl(path: Path, texts: Iterable[KnowledgeText]) -> None:
    rows = [json.dumps(_entry(text), ensure_ascii=False) for text in texts]
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _write_parquet(path: Path, texts: Iterable[KnowledgeText]) -> None:
    pq.write_table(pa.Table.from_pylist([_entry(text) for text in texts], schema=SCHEMA), path)


def _entry(text: KnowledgeText) -> dict[str, str]:
    fields = {"prompt": text.prompt, "text": text.text, "model": text.model, "provider": text.provider}
    return {"id": text.subject_id, **fields}


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
WRITERS: dict[str, Callable[[Path, Iterable[KnowledgeText]], None]] = {
    ".json": _write_json,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
