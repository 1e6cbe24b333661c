"""Reads tables of any format, and turns columns into types, naming file, column and row of what is wrong.

Rows are counted from 1, without a CSV's header.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.scenarios.items import AttributeValue
from services.trainer.datasets.dataset import InvalidDataset, refuse_rows

TimeUnit = Literal["s", "ms", "us", "iso8601"]
FORMATS = ".parquet, .csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz, .json, .json.gz (an object a line)"
LAST_SECOND = 4_102_444_800  # 2100-01-01 UTC
SECONDS: dict[str, float] = {"s": 1, "ms": 1e-3, "us": 1e-6}


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """A file's table; `columns` names those of a CSV without a header. Raises InvalidDataset."""
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz")[-8:]
    try:
        if kind.endswith(".parquet"):
            table = pd.read_parquet(path)
        elif kind.endswith((".csv", ".tsv")):
            separator = "\t" if kind.endswith(".tsv") else ","
            header = None if columns else 0
            table = pd.read_csv(path, sep=separator, dtype=str, header=header, names=columns, keep_default_na=False)
            table = table.replace("", None)
        elif kind.endswith((".jsonl", ".json")):
            table = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        else:
            raise InvalidDataset(f"{path}: must be one of {FORMATS}")
    except OSError as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error
    except (ValueError, pd.errors.ParserError) as error:  # broken JSON, Parquet or CSV
        raise InvalidDataset(f"{path}: cannot be read as {kind}: {error}") from error
    if table.empty:
        raise InvalidDataset(f"{path}: is empty")
    return table


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
        texts = values.astype(str)
        zoned = texts.where(
            texts.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True), texts + "Z"
        )  # or pandas mixes them up
        moments = pd.to_datetime(zoned, utc=True, errors="coerce", format="ISO8601")
        wrong = moments.isna()
        refuse_rows(wrong, f"{name} must be an ISO 8601 time, is {_first(values, wrong)!r}", path)
        seconds = moments.astype("datetime64[us, UTC]").astype(np.int64) / 1e6
    else:
        seconds = numbers_of(table, path, name) * SECONDS[unit]
    refuse_rows(seconds.isna(), f"{name} must have a value", path)
    wrong = (seconds < 0) | (seconds >= LAST_SECOND)
    refuse_rows(wrong, f"{name} must lie in 1970 to 2099: is its unit {unit}?", path)
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
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return " ".join(html.unescape(str(value)).split()) or None if _there(value) else None


def _there(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def _id_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _first(values: pd.Series, wrong: pd.Series) -> object:
    return values[wrong].iloc[0] if wrong.any() else None
