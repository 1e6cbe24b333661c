"""Amazon review data of UCSD: the releases of 2014, 2018 and 2023, from the user's files.

`--path` names the reviews and, if there is one, the metadata; a file may be compressed (.gz, or .zip with one member).
A review that is there twice (same user, item and second) counts once, and an item without a review is left out.
What a file holds is told by its content:

    reviews     JSON lines of 2014 and 2018 (reviewerID, asin, overall, unixReviewTime [s]) or of 2023 (user_id,
                parent_asin, rating, timestamp [ms]); ratings only: CSV of 2023 with a header, of 2014 (user, item,
                rating, time) and of 2018 (item, user, rating, time) without one: the column of ASINs and ISBNs
                is the item's
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
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import pandas as pd

from loreline.domain import AttributeValue, Item
from loreline.domain.items import MAX_LIST_VALUES
from services.trainer.data.datasets.dataset import (
    Dataset,
    DatasetSource,
    InvalidDataset,
    check_interactions,
    check_items,
    scenario_named,
    users_of,
)
from services.trainer.data.datasets.tables import clean_title, ids_of, numbers_of, read_separated, seconds_of

RELEASES: dict[str, tuple[str, str, str, str]] = {  # a column that only these reviews have: user, item, rating, time
    "reviewerID": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "user_id": ("user_id", "parent_asin", "rating", "timestamp"),
}
LOG = ["user_id", "item_id", "rating", "time"]
MAKER = {"books": "author", "music": "artist", "apps": "developer"}  # what the brand is called where it is not a brand
CATEGORIES = {"music": "genres", "movies": "genres", "apps": "category"}
ITEM_ID = re.compile(r"(?:B[0-9A-Z]|\d\d)[0-9A-Z]{8}")  # an ASIN, or the ISBN-10 of a book; a reviewer's begins with A
ID_FIELD = re.compile(r"""['"](?:parent_)?asin['"]\s*:\s*['"]([^'"]+)""")
PAGE_OF = re.compile(r"(?:Visit Amazon's (?P<name>.+) Page|by\s+(?P<maker>.+))")
DESCRIPTION_CHARACTERS = 1000
OPTIONS = ("scenario", "user_core", "item_core")


def load(source: DatasetSource) -> Dataset:
    """The dataset. Raises InvalidDataset naming file, row and what was expected."""
    source.check_options(OPTIONS)
    scenario = scenario_named(source.options.get("scenario", "retail")).name
    paths = {path: next(_lines(path), "") for path in source.files()}
    metadata = [path for path, first in paths.items() if _is_metadata(path, first)]
    path = _only([path for path in paths if path not in metadata])
    log = _reviews(path, paths[path]).drop_duplicates(["user_id", "item_id", "time"], ignore_index=True)
    kept = _core(log, source.number("user_core"), source.number("item_core"))
    item_ids = dict.fromkeys(kept["item_id"])
    known = {item_id: record for path in metadata for item_id, record in _metadata(path, item_ids)}
    items = {item_id: item_of(item_id, scenario, known.get(item_id, {})) for item_id in item_ids}
    check_items(items)
    return Dataset("amazon", scenario, items, users_of(kept), check_interactions(kept, items, path=path))


def _only(paths: list[Path]) -> Path:
    if not paths:
        raise InvalidDataset("--path: none of the files holds reviews")
    if len(paths) > 1:
        raise InvalidDataset(f"{paths[1]}: holds reviews, and so does {paths[0]}: give one file of reviews")
    return paths[0]


def _is_metadata(path: Path, first: str) -> bool:
    if not first.startswith("{"):
        return False
    record = _record(path, 1, first)
    return not any(column in record for column in RELEASES)


def _reviews(path: Path, first: str) -> pd.DataFrame:
    if not first.startswith("{"):
        return _rating_table(path, first)
    release = next(column for column in RELEASES if column in _record(path, 1, first))
    columns = RELEASES[release]
    records = (_record(path, row, line) for row, line in enumerate(_lines(path), start=1))
    table = pd.DataFrame([[record.get(column) for column in columns] for record in records], columns=list(columns))
    return _typed(table, path, columns, "ms" if release == "user_id" else "s")


def _rating_table(path: Path, first: str) -> pd.DataFrame:
    fields = first.split(",")
    if "rating" in fields:
        return _typed(_separated(path, None), path, RELEASES["user_id"], "ms")
    items = [ITEM_ID.fullmatch(value) is not None for value in fields[:2]]
    if len(fields) != 4 or sum(items) != 1:
        raise InvalidDataset(
            f"{path}: row 1: must be JSON, or user, item, rating and time separated by commas, one an ASIN or ISBN"
        )
    names = ["item_id", "user_id"] if items[0] else ["user_id", "item_id"]
    return _typed(_separated(path, [*names, "rating", "time"]), path, ("user_id", "item_id", "rating", "time"), "s")


def _separated(path: Path, names: list[str] | None) -> pd.DataFrame:
    with _opened(path) as file:
        return read_separated(file, path, names=names)


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


def _metadata(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of wanted items; other lines, most of a whole category, are not even parsed."""
    for row, line in enumerate(_lines(path), start=1):
        found = ID_FIELD.findall(line)
        if found and not any(item_id in wanted for item_id in found):
            continue
        record = _record(path, row, line)
        item_id = record.get("parent_asin") or record.get("asin")
        if not item_id:
            raise InvalidDataset(f"{path}: row {row}: must have an asin or a parent_asin")
        yield str(item_id), record


def item_of(item_id: str, scenario: str, record: Mapping[str, Any]) -> Item:
    """The item that a record of metadata describes; without a title it is called by what is known of it."""
    path, maker = _category(record.get("category") or record.get("categories")), _maker(record)
    known: dict[str, AttributeValue] = {
        MAKER.get(scenario, "brand"): maker,
        CATEGORIES.get(scenario, "categories"): (path[1:] or path)[:MAX_LIST_VALUES] or None,  # all share the first
        "price": _price(record.get("price")),
        "description": _plain(record.get("description"))[:DESCRIPTION_CHARACTERS],
    }
    attributes = {name: value for name, value in known.items() if value}
    return Item(item_id, scenario, _title(record) or _substitute(item_id, scenario, attributes), attributes)


def is_titled(item: Item) -> bool:
    """Whether an item has a title of its own, and is not called by what else is known of it."""
    return item.title != _substitute(item.item_id, item.scenario, item.attributes)


def _substitute(item_id: str, scenario: str, attributes: Mapping[str, AttributeValue]) -> str:
    levels = attributes.get(CATEGORIES.get(scenario, "categories"))
    last = levels[-1:] if isinstance(levels, list) else []
    parts = (attributes.get(MAKER.get(scenario, "brand")), *last, attributes.get("description"))
    return clean_title(", ".join(str(part) for part in parts if part)) or f"Item {item_id}"


def _title(record: Mapping[str, Any]) -> str:
    title = _plain(record.get("title"))
    return "" if "getTime()" in title else clean_title(title)  # 2018's crawl took scripts for some titles


def _maker(record: Mapping[str, Any]) -> str:
    author = record.get("author")
    named = author.get("name") if isinstance(author, dict) else author
    maker = _plain(record.get("brand") or named or record.get("store"))
    page = PAGE_OF.fullmatch(maker)
    return (page["name"] or page["maker"]) if page else maker.removesuffix(" (Author)")


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
    with _opened(path) as file:
        yield from (line for raw in file if (line := raw.strip()))


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The text of a file that may be compressed. Raises InvalidDataset, also while it is read."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as member:
                yield io.TextIOWrapper(member, encoding="utf-8")
        else:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
                yield cast(TextIO, file)
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise InvalidDataset(f"{archive.filename}: must hold one file, holds {len(members)}")
    return members[0]
