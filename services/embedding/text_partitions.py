"""A Parquet of texts as partitions of rows, every text checked before any is encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.embedding.encoder import MAX_TEXT_CHARACTERS

TEXT_COLUMNS = ("text", "ans")
KEPT_COLUMNS = ("id", *TEXT_COLUMNS, "prompt", "model", "provider")  # those that `loreline knowledge import` reads
READ_ROWS = 8192
# texts that `loreline knowledge import` would store as others than were encoded
NOT_ONE_LINE = r"[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]|^ | $|  "


class InvalidTexts(Exception):
    """The input cannot be read, or a row is no text that can be encoded; the message names file, row and column."""


@dataclass(frozen=True)
class Partition:
    """Rows of one input file, counted from 0, and the name of the file that takes their vectors."""

    name: str
    file: Path
    first_row: int
    rows: int


def divide(source: Path, rows: int) -> list[Partition]:
    """The partitions of a Parquet file, or of all those of a folder, every text checked. Raises InvalidTexts."""
    spans = [
        (file, start, min(rows, count - start))
        for file in _files(source)
        for count in [_checked_rows(file)]
        for start in range(0, count, rows)
    ]
    if not spans:
        raise InvalidTexts(f"{source}: holds no texts")
    return [Partition(f"part-{number:05}.parquet", *span) for number, span in enumerate(spans)]


def input_hash(source: Path) -> str:
    """A hash of all bytes of the input files."""
    digest = hashlib.sha256()
    for file in _files(source):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def table_of(partition: Partition) -> pa.Table:
    """The partition's rows, with those columns that are kept."""
    return pa.Table.from_batches(list(_batches(partition)))


def texts_in(table: pa.Table) -> list[str]:
    """The texts of such a table."""
    texts: list[str] = table[next(name for name in TEXT_COLUMNS if name in table.column_names)].to_pylist()
    return texts


def _files(source: Path) -> list[Path]:
    files = sorted(source.glob("[!._]*.parquet")) if source.is_dir() else [source]
    if not files or not files[0].exists():
        raise InvalidTexts(f"{source}: must be a Parquet file, or a folder of them")
    return files


def _checked_rows(file: Path) -> int:
    try:
        with pq.ParquetFile(file) as opened:
            text = _text_column(file, opened.schema_arrow)
            return sum(
                _check(file, text, start, batch)
                for start, batch in _numbered(opened.iter_batches(READ_ROWS, columns=["id", text]))
            )
    except pa.ArrowException as error:
        raise InvalidTexts(f"{file}: must be Parquet: {error}") from error


def _text_column(file: Path, schema: pa.Schema) -> str:
    found = [name for name in TEXT_COLUMNS if name in schema.names]
    if "id" not in schema.names or len(found) != 1:
        raise InvalidTexts(f"{file}: must have the columns id and text (or ans), has {', '.join(schema.names)}")
    kinds = {"id": (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)}
    for name in ("id", found[0]):
        kind = schema.field(name).type
        if not any(fits(kind) for fits in kinds.get(name, (pa.types.is_string, pa.types.is_large_string))):
            raise InvalidTexts(f"{file}: {name}: must be text{' or whole numbers' * (name == 'id')}, is {kind}")
    return found[0]


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in batches:
        yield start, batch
        start += batch.num_rows


def _check(file: Path, text: str, start: int, batch: pa.RecordBatch) -> int:
    length = pc.fill_null(pc.utf8_length(batch[text]), 0)
    fits = pc.and_(pc.greater_equal(length, 1), pc.less_equal(length, MAX_TEXT_CHARACTERS))
    one_line = pc.invert(pc.fill_null(pc.match_substring_regex(batch[text], NOT_ONE_LINE), False))
    expected = [
        ("id", pc.is_valid(batch["id"]), "must be given"),
        (text, fits, f"must have 1 to {MAX_TEXT_CHARACTERS} characters"),
        (text, one_line, "must be one line with single blanks, as `loreline knowledge export` writes it"),
    ]
    for name, valid, what in expected:
        if (row := pc.index(valid, False).as_py()) >= 0:
            raise InvalidTexts(f"{file}, row {start + row + 1}: {name}: {what}")
    return int(batch.num_rows)


def _batches(partition: Partition) -> Iterator[pa.RecordBatch]:
    """The partition's rows, read by those row groups alone that hold some of them."""
    end = partition.first_row + partition.rows
    with pq.ParquetFile(partition.file) as opened:
        sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = [g for g in range(len(sizes)) if starts[g] < end and starts[g + 1] > partition.first_row]
        columns = [name for name in opened.schema_arrow.names if name in KEPT_COLUMNS]
        for at, batch in _numbered(opened.iter_batches(READ_ROWS, row_groups=groups, columns=columns)):
            first = max(0, partition.first_row - int(starts[groups[0]]) - at)
            last = min(batch.num_rows, end - int(starts[groups[0]]) - at)
            if first < last:
                yield batch.slice(first, last - first)
            if last < batch.num_rows:
                return
