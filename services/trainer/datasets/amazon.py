"""Amazon review data of UCSD: the releases of 2014, 2018 and 2023, from the user's files.

`--path` names the reviews and, if there is one, the metadata; a file may be compressed (.gz, or .zip with one member).
What a file holds is told by its content:

    reviews     JSON lines of 2014 and 2018 (reviewerID, asin, overall, unixReviewTime [s]) or of 2023 (user_id,
                parent_asin, rating, timestamp [ms]); ratings only: CSV of 2023 with a header, of 2014 (user, item,
                rating, time) and of 2018 (item, user, rating, time) without one
    metadata    JSON lines, those of 2014 in Python's notation: title, brand or store, categories, price, description

Options: `scenario` (retail), `user_core` and `item_core` (0): keep users and items with at least so many reviews, again
and again until all that are left have them. Cite Ni et al. 2019 and McAuley et al. 2015.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from services.scenarios import Item
from services.scenarios.items import AttributeValue
from services.trainer.datasets.dataset import Dataset, DatasetSource, InvalidDataset, check_interactions
from services.trainer.datasets.tables import clean_title, ids_of, numbers_of, seconds_of

RELEASES: dict[str, tuple[str, str, str, str]] = {  # a column that only these reviews have: user, item, rating, time
    "reviewerID": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "user_id": ("user_id", "parent_asin", "rating", "timestamp"),
}
LOG = ["user_id", "item_id", "rating", "time"]
MAKER = {"books": "author", "music": "artist"}  # what the brand is called where it is not a brand
GENRES = {"music": "genres"}
ITEM_ID_LENGTH = 10  # of an ASIN or ISBN; a reviewer's id is longer
DESCRIPTION_CHARACTERS = 1000
OPTIONS = ("scenario", "user_core", "item_core")


def load(source: DatasetSource) -> Dataset:
    """The dataset. Raises InvalidDataset naming file, row and what was expected."""
    source.check_options(OPTIONS)
    scenario = source.options.get("scenario", "retail")
    log: pd.DataFrame | None = None
    known: dict[str, dict[str, Any]] = {}
    for path in source.files():
        first = next(_lines(path), "")
        if _is_metadata(path, first):
            known = {**known, **_metadata(path)}
        elif log is None:
            log = _reviews(path, first)
        else:
            raise InvalidDataset(f"{path}: holds reviews, and so does another file: give one file of reviews")
    if log is None:
        raise InvalidDataset("--path: none of the files holds reviews")
    kept = _core(log.drop_duplicates(ignore_index=True), source.number("user_core"), source.number("item_core"))
    items = {i: _item(i, scenario, known.get(i, {})) for i in kept["item_id"].unique()}
    return Dataset("amazon", scenario, items, {}, check_interactions(kept, items))


def _is_metadata(path: Path, first: str) -> bool:
    if not first.startswith("{"):
        return False
    record = _record(path, 1, first)
    return not any(column in record for column in RELEASES)


def _reviews(path: Path, first: str) -> pd.DataFrame:
    if not first.startswith("{"):
        return _rating_table(path, first)
    table = pd.DataFrame.from_records([_record(path, row, line) for row, line in enumerate(_lines(path), start=1)])
    release = next(column for column in RELEASES if column in table)
    return _typed(table, path, RELEASES[release], "ms" if release == "user_id" else "s")


def _rating_table(path: Path, first: str) -> pd.DataFrame:
    text = io.StringIO("\n".join(_lines(path)))
    fields = first.split(",")
    if "rating" in fields:
        return _typed(pd.read_csv(text, dtype=str), path, RELEASES["user_id"], "ms")
    if len(fields) != 4:
        raise InvalidDataset(f"{path}: row 1: must be JSON, or user, item, rating and time separated by commas")
    names = ["item_id", "user_id"] if len(fields[0]) == ITEM_ID_LENGTH != len(fields[1]) else ["user_id", "item_id"]
    table = pd.read_csv(text, dtype=str, header=None, names=[*names, "rating", "time"])
    return _typed(table, path, ("user_id", "item_id", "rating", "time"), "s")


def _typed(table: pd.DataFrame, path: Path, columns: tuple[str, str, str, str], unit: Any) -> pd.DataFrame:
    user, item, rating, time = columns
    parts = (ids_of(table, path, user), ids_of(table, path, item), numbers_of(table, path, rating))
    return pd.DataFrame(dict(zip(LOG, (*parts, seconds_of(table, path, time, unit)), strict=True)))


def _core(log: pd.DataFrame, user_core: int, item_core: int) -> pd.DataFrame:
    while True:
        users = log.groupby("user_id")["item_id"].transform("size") >= user_core
        items = log.groupby("item_id")["user_id"].transform("size") >= item_core
        if (users & items).all():
            break
        log = log[users & items]
    if log.empty:
        raise InvalidDataset(f"--option: no reviews are left with user_core={user_core} and item_core={item_core}")
    return log.reset_index(drop=True)


def _metadata(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for row, line in enumerate(_lines(path), start=1):
        record = _record(path, row, line)
        item_id = record.get("parent_asin") or record.get("asin")
        if not item_id:
            raise InvalidDataset(f"{path}: row {row}: must have an asin or a parent_asin")
        found[str(item_id)] = record
    return found


def _item(item_id: str, scenario: str, record: Mapping[str, Any]) -> Item:
    path = _category(record.get("category") or record.get("categories"))
    known: dict[str, AttributeValue] = {
        MAKER.get(scenario, "brand"): _plain(record.get("brand") or record.get("store")),
        GENRES.get(scenario, "categories"): path[1:] or path or None,  # the first is the same for the whole file
        "price": _price(record.get("price")),
        "description": _plain(record.get("description"))[:DESCRIPTION_CHARACTERS],
    }
    attributes = {name: value for name, value in known.items() if value}
    instead = [attributes.get(MAKER.get(scenario, "brand")), *path[-1:], attributes.get("description")]
    title = clean_title(record.get("title")) or clean_title(", ".join(str(part) for part in instead if part))
    return Item(item_id, scenario, title or f"Item {item_id}", attributes)


def _category(value: Any) -> list[str]:
    """The levels of a path; releases write it flat, as a list of paths, or as one text."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    levels = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for level in levels if (text := _plain(level))))


def _price(value: Any) -> float | None:
    found = re.search(r"\d[\d,]*(?:\.\d+)?", str(value or ""))
    price = float(found.group().replace(",", "")) if found else 0.0
    return price or None


def _plain(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return clean_title(re.sub(r"<[^>]*>", " ", text), longest=16_000)


def _record(path: Path, row: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        try:
            record = ast.literal_eval(line)  # 2014's metadata
        except (ValueError, SyntaxError) as error:
            raise InvalidDataset(f"{path}: row {row}: must be a JSON object") from error
    if not isinstance(record, dict):
        raise InvalidDataset(f"{path}: row {row}: must be a JSON object")
    return record


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
                yield from _stripped(io.TextIOWrapper(member, encoding="utf-8"))
        else:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
                yield from _stripped(file)
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, IndexError) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error


def _stripped(file: Any) -> Iterator[str]:
    yield from (line for raw in file if (line := raw.strip()))
