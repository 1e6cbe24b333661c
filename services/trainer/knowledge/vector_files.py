"""Reads knowledge texts whose vectors are ready-made, as `python -m services.embedding.backfill` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from services.trainer.knowledge.files import InvalidKnowledgeFile, KnowledgeText, texts_of_rows

VECTOR_COLUMNS = ("encoder", "vector")
AUGMENTED_COLUMNS = ("model_version", "augmented")


@dataclass(frozen=True)
class ReadyVector:
    """A text's vector float32 (K,) by `encoder`; `augmented` holds a float32 (A,) by model version, or nothing."""

    encoder: str
    vector: npt.NDArray[np.float32]
    augmented: Mapping[str, npt.NDArray[np.float32]]


def holds_vectors(path: Path) -> bool:
    """Whether the path is a folder, or a Parquet file with vectors."""
    if path.is_dir():
        return True
    if path.suffix.lower() != ".parquet" or not path.exists():
        return False
    try:
        return "vector" in pq.read_schema(path).names
    except pa.ArrowException:
        return False  # read_texts will say what is wrong with it


def read_vectors(path: Path) -> tuple[list[KnowledgeText], dict[int, ReadyVector]]:
    """The texts in their order, and the vectors by the texts' rows. Raises InvalidKnowledgeFile.

    A folder must be whole, which a `_SUCCESS` in it says.
    """
    if path.is_dir() and not (path / "_SUCCESS").exists():
        raise InvalidKnowledgeFile(f"{path}: is not whole: run the same backfill again until it has finished")
    texts: list[KnowledgeText] = []
    vectors: dict[int, ReadyVector] = {}
    for file in sorted(path.glob("[!._]*.parquet")) if path.is_dir() else [path]:
        first = len(texts) + 1
        table = _table(file)
        texts += texts_of_rows(file, table.drop_columns(_present(table)), first)
        vectors |= dict(enumerate(_ready(file, table), start=first))
    return texts, vectors


def _table(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file, partitioning=None)
    except pa.ArrowException as error:
        raise InvalidKnowledgeFile(f"{file}: must be Parquet: {error}") from error
    if missing := [name for name in VECTOR_COLUMNS if name not in table.column_names]:
        raise InvalidKnowledgeFile(f"{file}: must have the columns encoder and vector, lacks {' and '.join(missing)}")
    return table


def _present(table: pa.Table) -> list[str]:
    return [name for name in (*VECTOR_COLUMNS, *AUGMENTED_COLUMNS) if name in table.column_names]


def _ready(file: Path, table: pa.Table) -> Iterator[ReadyVector]:
    encoders, vectors = _names(file, table, "encoder"), _matrix(file, table, "vector")
    if not set(AUGMENTED_COLUMNS) <= set(table.column_names):
        yield from (ReadyVector(encoder, row, {}) for encoder, row in zip(encoders, vectors, strict=True))
        return
    versions, augmented = _names(file, table, "model_version"), _matrix(file, table, "augmented")
    for encoder, row, version, adapted in zip(encoders, vectors, versions, augmented, strict=True):
        yield ReadyVector(encoder, row, {version: adapted})


def _names(file: Path, table: pa.Table, column: str) -> Sequence[str]:
    names: list[object] = table[column].to_pylist()
    for row, name in enumerate(names, start=1):
        if not isinstance(name, str) or not name:
            raise InvalidKnowledgeFile(f"{file}, row {row}: {column}: must be text, is {name!r}")
    return [str(name) for name in names]


def _matrix(file: Path, table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    kind = table[column].type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32() or table[column].null_count:
        raise InvalidKnowledgeFile(f"{file}: {column}: must be lists of float32, all of one length, is {kind}")
    chunks = [np.asarray(chunk.flatten()) for chunk in table[column].chunks]
    numbers = np.concatenate([*chunks, np.empty(0, dtype=np.float32)]).reshape(len(table), kind.list_size)
    finite = np.isfinite(numbers).all(axis=1)
    if not finite.all():
        raise InvalidKnowledgeFile(f"{file}, row {int(finite.argmin()) + 1}: {column}: must hold finite numbers")
    return numbers
