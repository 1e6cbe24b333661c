"""Reads tables of any format, and turns columns into types, naming file, column and row of what is wrong.

Rows are counted from 1, without a CSV's header.
"""

from __future__ import annotations

import gzip
import html
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from loreline.domain import AttributeValue
from services.trainer.data.datasets.dataset import END_SECONDS, InvalidDataset, refuse_rows

TimeUnit = Literal["s", "ms", "us", "iso8601"]
FORMATS = ".parquet, .csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz, .json, .json.gz (an object a line)"
PER_SECOND: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000}
END_1970 = 31_536_000


def read_table(path: Path) -> pd.DataFrame:
    """A file's table; of a CSV all columns are text. Raises InvalidDataset."""
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz")
    reader = next((read for ends, read in READERS.items() if kind.endswith(ends)), None)
    if reader is None:
        raise InvalidDataset(f"{path}: must be one of {FORMATS}")
    try:
        table = reader(path)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error
    except (ValueError, AttributeError) as error:  # broken JSON, Parquet or CSV
        raise InvalidDataset(f"{path}: cannot be read as {kind}: {error}") from error
    if table.empty:
        raise InvalidDataset(f"{path}: is empty")
    return table


def read_separated(
    file: Path | TextIO, path: Path, separator: str = ",", names: list[str] | None = None
) -> pd.DataFrame:
    """A CSV as text, None where it is empty; `names` are those of one without a header. Raises InvalidDataset."""
    header = None if names else 0
    try:
        table = pd.read_csv(file, sep=separator, dtype=str, header=header, names=names, keep_default_na=False)
    except ValueError as error:
        raise InvalidDataset(f"{path}: cannot be read as CSV: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes a column without a name for the index
        raise InvalidDataset(f"{path}: row 1: must have as many values as there are columns: {len(table.columns)}")
    return table.replace("", None)


def _read_csv(path: Path) -> pd.DataFrame:
    return read_separated(path, path)


def _read_tsv(path: Path) -> pd.DataFrame:
    return read_separated(path, path, "\t")


def _read_json_lines(path: Path) -> pd.DataFrame:
    try:
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    except (ValueError, AttributeError):
        _refuse_broken_lines(path)
        raise


def _refuse_broken_lines(path: Path) -> None:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    broken = pd.Series([not _is_json_object(line) for line in lines], dtype=bool)
    refuse_rows(broken, "must be a JSON object", path)


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
}


def column_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column. Raises InvalidDataset listing the columns that there are."""
    if name not in table:
        raise InvalidDataset(f"{path}: there is no column {name!r}; there are {', '.join(map(str, table.columns))}")
    return table[name]


def ids_of(table: pd.DataFrame, path: Path, name: str, unique: bool = False) -> pd.Series:
    """A column of ids as text, every one there, and each once if `unique`. Raises InvalidDataset."""
    values = column_of(table, path, name)
    refuse_rows(values.isna(), f"{name} must have a value", path)
    texts = values.map(_id_text) if values.dtype != object else values.astype(str)
    if unique:
        refuse_rows(texts.duplicated(), f"{name} must be there once", path)
    return texts


def texts_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column as text, also where it holds numbers; empty text where there is nothing. Raises InvalidDataset."""
    return column_of(table, path, name).map(lambda value: _id_text(value) if _there(value) else "")


def numbers_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column of numbers, NaN where there is none. Raises InvalidDataset."""
    values = column_of(table, path, name)
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() & values.notna()
    refuse_rows(wrong, f"{name} must be a number, is {_first(values, wrong)!r}", path)
    return numbers.astype(np.float64)


def seconds_of(table: pd.DataFrame, path: Path, name: str, unit: TimeUnit) -> npt.NDArray[np.int64]:
    """A column of times as whole seconds since 1970-01-01 UTC; iso8601 without a zone is UTC. Raises InvalidDataset."""
    if unit == "iso8601":
        values = column_of(table, path, name)
        texts = values.astype(str).str.replace(r"^\d{4}-\d\d-\d\d$", r"\g<0>T00", regex=True)
        zoned = texts.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True)
        texts = texts.where(zoned, texts + "Z")  # pandas takes either those with a zone or those without
        moments = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        wrong = moments.isna()
        refuse_rows(wrong, f"{name} must be an ISO 8601 time, is {_first(values, wrong)!r}", path)
        seconds = moments.astype("datetime64[us, UTC]").astype(np.int64) / 1e6
    else:
        seconds = numbers_of(table, path, name) / PER_SECOND[unit]
    refuse_rows(seconds.isna(), f"{name} must have a value", path)
    wrong = (seconds < 0) | (seconds >= END_SECONDS)
    refuse_rows(wrong, f"{name} must lie in 1970 to 2099: is its unit {unit}?", path)
    if PER_SECOND.get(unit, 1) > 1 and seconds.max() < END_1970:
        raise InvalidDataset(f"{path}: {name} lies in 1970 as a whole: is its unit s and not {unit}?")
    return np.floor(seconds.to_numpy()).astype(np.int64)


def attribute_values(values: pd.Series, kind: str, separator: str) -> list[AttributeValue]:
    """A column's values as attributes: text, numbers, or lists of text. What is missing or empty is None."""
    if kind == "number":
        numbers = pd.to_numeric(values, errors="coerce")
        return [None if np.isnan(number) else float(number) for number in numbers]
    if kind == "list":
        return [_list_of(value, separator) for value in values]
    return [_text_of(value) for value in values]


def clean_title(value: object, longest: int = 150) -> str:
    """One line of text without HTML entities, cut at `longest` characters."""
    text = " ".join(html.unescape(str(value)).split()) if isinstance(value, str) else ""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _list_of(value: object, separator: str) -> list[str] | None:
    parts = (
        list(value) if isinstance(value, list | np.ndarray) else str(value).split(separator) if _there(value) else []
    )
    return [text for part in parts if (text := _text_of(part))] or None


def _text_of(value: object) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else _id_text(value)
    return " ".join(html.unescape(text).split()) or None if _there(value) else None


def _there(value: object) -> bool:
    return isinstance(value, list | dict | np.ndarray) or not pd.isna(value)  # type: ignore[call-overload]


def _id_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _first(values: pd.Series, wrong: pd.Series) -> object:
    return values[wrong].iloc[0] if wrong.any() else None
