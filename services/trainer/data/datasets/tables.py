"""Reads tables of any format, and turns columns into types, naming file, column and row of what is wrong.

Rows are counted from 1, without a CSV's header.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from loreline.domain import AttributeValue
from services.trainer.data.datasets.dataset import InvalidDataset, latest_second, refuse_rows
from services.trainer.data.datasets.texts import UTF_8, lines_of, one_line, opened

TimeUnit = Literal["s", "ms", "us", "iso8601"]
Quoting = Literal["double", "none"]
FORMATS = ".parquet, .csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz, .json, .json.gz (an object a line)"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
PER_SECOND: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000}
END_1970 = 31_536_000
ZONE = re.compile(r"\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)$")
HOURS = re.compile(r"[+-]\d\d$")


@dataclass(frozen=True)
class TextForm:
    """How a CSV is written, or in which encoding JSON lines are; what is None follows from the file's name.

    With `quoting` double a value may stand in double quotes and then hold separators and line breaks, as in a CSV;
    with none a quote is a letter like any other, as in a TSV.
    """

    encoding: str | None = None
    separator: str | None = None
    quoting: Quoting | None = None


def check_encoding(name: str) -> str:
    """The encoding's name. Raises ValueError when Python knows none of it."""
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise ValueError(f"must be an encoding such as utf-8, latin-1 or cp1252, is {name!r}") from error
    return name


def read_table(path: Path, form: TextForm | None = None, texts: Collection[str] | None = None) -> pd.DataFrame:
    """A file's table; of a CSV all columns are text, and only those named in `texts` may hold line breaks, if given.

    Raises InvalidDataset.
    """
    kind, form = path.suffixes[-1:] if path.suffix != ".gz" else path.suffixes[-2:-1], form or TextForm()
    match kind:
        case [".parquet"]:
            table = _read_parquet(path)
        case [".csv" | ".tsv" as ending]:
            table = read_separated(path, _filled(form, ending), texts=texts)
        case [".jsonl" | ".json"]:
            table = _read_json_lines(path, form.encoding or UTF_8)
        case _:
            raise InvalidDataset(f"{path}: must be one of {FORMATS}")
    if table.empty:
        raise InvalidDataset(f"{path}: is empty")
    return table


def read_separated(
    path: Path, form: TextForm, names: list[str] | None = None, texts: Collection[str] | None = None
) -> pd.DataFrame:
    """A CSV as text, None where it is empty; `names` are those of one without a header, `texts` as in read_table.

    Raises InvalidDataset.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if form.quoting == "none" else csv.QUOTE_MINIMAL
    with opened(path, form.encoding or UTF_8) as file:
        reader = csv.reader(file, delimiter=form.separator or ",", quoting=quoting, strict=True)
        try:
            columns = names or _header(path, next(reader, []))
            rows = list(_rows(path, reader, columns, columns if texts is None else texts))
        except csv.Error as error:
            place = f"{path}: line {reader.line_num}"
            raise InvalidDataset(f"{place}: cannot be read as CSV: {error}{_advice(form)}") from error
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _filled(form: TextForm, ending: str) -> TextForm:
    quoting: Quoting = "double" if ending == ".csv" else "none"
    return TextForm(form.encoding, form.separator or SEPARATORS[ending], form.quoting or quoting)


def _header(path: Path, names: list[str]) -> list[str]:
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InvalidDataset(f"{path}: there are two columns {twice[0]!r}")
    return names


def _rows(
    path: Path, rows: Iterable[list[str]], columns: list[str], texts: Collection[str]
) -> Iterator[list[str | None]]:
    single = [place for place, name in enumerate(columns) if name not in texts]
    number = 0
    for row in rows:
        if not row:
            continue  # a blank line
        number += 1
        if len(row) != len(columns):
            raise InvalidDataset(f"{path}: row {number}: must have {len(columns)} values, has {len(row)}")
        for place in single:
            if "\n" in row[place] or "\r" in row[place]:
                raise InvalidDataset(
                    f"{path}: row {number}: {columns[place]} holds a line break: a quote that nothing ends? "
                    "`quoting: none` takes quotes as letters"
                )
        yield [value or None for value in row]


def _advice(form: TextForm) -> str:
    return "" if form.quoting == "none" else "; `quoting: none` takes quotes as letters"


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{path}: cannot be read as Parquet: {error}") from error


def _read_json_lines(path: Path, encoding: str) -> pd.DataFrame:
    found = [json_object(line) for _, line in lines_of(path, encoding)]
    refuse_rows(pd.Series([record is None for record in found], dtype=bool), "must be a JSON object", path)
    records = [record for record in found if record is not None]
    names = list(dict.fromkeys(name for record in records for name in record))
    return pd.DataFrame([[record.get(name) for name in names] for record in records], columns=names, dtype=object)


def json_object(line: str) -> dict[str, Any] | None:
    """The JSON object of one line, in which numbers that are none (NaN, Infinity) are None; None where it is none."""
    try:
        record = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def column_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column. Raises InvalidDataset listing the columns that there are."""
    if name not in table:
        raise InvalidDataset(f"{path}: there is no column {name!r}; there are {', '.join(map(str, table.columns))}")
    return table[name]


def ids_of(table: pd.DataFrame, path: Path, name: str, unique: bool = False) -> pd.Series:
    """A column of ids as text without blanks around it, every one there, and each once if `unique`.

    A whole number is written without a point, whatever type the column has. Raises InvalidDataset.
    """
    texts = texts_of(table, path, name).str.strip()
    refuse_rows(texts == "", f"{name} must have a value", path)
    if unique:
        refuse_rows(texts.duplicated(), f"{name} must be there once", path)
    return texts


def texts_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column as text, also where it holds numbers; empty text where there is nothing. Raises InvalidDataset."""
    values = column_of(table, path, name)
    return pd.Series([_id_text(value) if _there(value) else "" for value in values], index=values.index, dtype=object)


def numbers_of(table: pd.DataFrame, path: Path, name: str) -> pd.Series:
    """A column of finite numbers, NaN where there is none. Raises InvalidDataset."""
    values = column_of(table, path, name)
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    wrong = (numbers.isna() & values.notna()) | (numbers.abs() == np.inf)
    refuse_rows(wrong, f"{name} must be a number, is {_first(values, wrong)!r}", path)
    return numbers


def seconds_of(table: pd.DataFrame, path: Path, name: str, unit: TimeUnit) -> npt.NDArray[np.int64]:
    """A column of times as whole seconds since 1970-01-01 UTC. Raises InvalidDataset.

    `unit` is that of numbers; iso8601 is a date, or a date and a time, in UTC where no zone is told. A Parquet column
    of moments or dates is one, whatever the unit.
    """
    values = column_of(table, path, name)
    if pd.api.types.is_datetime64_any_dtype(values):
        seconds = _seconds_of_moments(values)
    elif unit == "iso8601" or _holds_dates(values):
        found = [_moment(value) for value in values]
        wrong = pd.Series([moment is None for moment in found], index=values.index)
        refuse_rows(wrong, f"{name} must be an ISO 8601 time, is {_first(values, wrong)!r}", path)
        seconds = pd.Series([moment.timestamp() for moment in found if moment], index=values.index)
    else:
        seconds = numbers_of(table, path, name) / PER_SECOND[unit]
        early = seconds < END_1970
        if PER_SECOND[unit] > 1 and early.all():
            raise InvalidDataset(f"{path}: {name} lies in 1970 as a whole: is its unit s and not {unit}?")
        if PER_SECOND[unit] > 1:
            refuse_rows(early & (seconds >= 0), f"{name} lies in 1970, other rows do not: is it in seconds?", path)
    refuse_rows(seconds.isna(), f"{name} must have a value", path)
    wrong = (seconds < 0) | (seconds >= latest_second())
    refuse_rows(wrong, f"{name} must lie between 1970 and now: is its unit {unit}?", path)
    whole: npt.NDArray[np.int64] = np.floor(seconds.to_numpy()).astype(np.int64)
    return whole


def attribute_values(values: pd.Series, kind: str, separator: str) -> list[AttributeValue]:
    """A column's values as attributes: text, numbers, or lists of text. What is missing or empty is None."""
    if kind == "number":
        numbers = pd.to_numeric(values, errors="coerce")
        return [None if np.isnan(number) else float(number) for number in numbers]
    if kind == "list":
        return [_list_of(value, separator) for value in values]
    return [_text_of(value) for value in values]


def _seconds_of_moments(values: pd.Series) -> pd.Series:
    zoned = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    seconds: pd.Series = (zoned - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds


def _holds_dates(values: pd.Series) -> bool:
    return bool(values.dtype == object) and any(isinstance(value, date) for value in values.head(1))


def _moment(value: object) -> datetime | None:
    if isinstance(value, date):
        found = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    else:
        text = str(value).strip()
        zone = ZONE.search(text) if ":" in text else None  # the last part of a plain date is no zone
        if zone:
            text = f"{text[: zone.start()]}{_offset(zone['zone'])}"
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


def _offset(zone: str) -> str:
    """What Python takes of what databases export: `+00`, ` UTC`, `z`."""
    return f"{zone}:00" if HOURS.match(zone) else zone if zone[0] in "+-" else "+00:00"


def _list_of(value: object, separator: str) -> list[str] | None:
    parts = (
        list(value) if isinstance(value, list | np.ndarray) else str(value).split(separator) if _there(value) else []
    )
    return [text for part in parts if (text := _text_of(part))] or None


def _text_of(value: object) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else _id_text(value)
    return one_line(text) or None if _there(value) else None


def _there(value: object) -> bool:
    return isinstance(value, list | dict | np.ndarray) or not pd.isna(value)  # type: ignore[call-overload]


def _id_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _first(values: pd.Series, wrong: pd.Series) -> object:
    return values[wrong].iloc[0] if wrong.any() else None
