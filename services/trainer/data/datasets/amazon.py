"""Amazon review data of UCSD: the releases of 2014, 2018 and 2023, from the user's files.

`--path` names the reviews and, if there is one, the metadata; a file may be compressed (.gz, or .zip with one member).
In a folder, files that are hidden, empty, or neither JSON nor CSV are passed over. A review that is there twice (same
user, item and second) counts once, and an item without a review is left out.
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
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from loreline.domain import AttributeValue, Item
from services.trainer.data.datasets.dataset import (
    Dataset,
    DatasetSource,
    InvalidDataset,
    check_interactions,
    check_items,
    refuse_rows,
    scenario_named,
    users_of,
)
from services.trainer.data.datasets.tables import (
    TextForm,
    ids_of,
    json_object,
    numbers_of,
    read_separated,
    seconds_of,
)
from services.trainer.data.datasets.texts import clean_title, fitted, lines_of, plain

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
EXPECTED = "JSON, or user, item, rating and time separated by commas, one an ASIN or ISBN"
SUFFIXES = {".json", ".jsonl", ".csv", ".gz", ".zip"}
OPTIONS = ("scenario", "user_core", "item_core")


def load(source: DatasetSource) -> Dataset:
    """The dataset. Raises InvalidDataset naming file, row and what was expected."""
    source.check_options(OPTIONS)
    scenario = scenario_named(source.options.get("scenario", "retail")).name
    found, passed_over = written_files(source)
    reviews, metadata = _sorted_out(found)
    log = _reviews(reviews, found[reviews]).drop_duplicates(["user_id", "item_id", "time"], ignore_index=True)
    kept = _core(log, source.number("user_core"), source.number("item_core"))
    item_ids = dict.fromkeys(kept["item_id"])
    known = _known(metadata, item_ids)
    items, remarks = fitted_items({one: item_of(one, scenario, known.get(one, {})) for one in item_ids})
    check_items(items)
    checked = check_interactions(kept, items, path=reviews)
    return Dataset("amazon", scenario, items, users_of(kept), checked, (*passed_over, *remarks))


def fitted_items(items: Mapping[str, Item]) -> tuple[dict[str, Item], tuple[str, ...]]:
    """The items with attributes cut to the contracts' limits, and remarks on what was cut."""
    attributes, remarks = fitted({name: item.attributes for name, item in items.items()}, "items")
    return {name: replace(item, attributes=attributes[name]) for name, item in items.items()}, remarks


def written_files(source: DatasetSource) -> tuple[dict[Path, str], list[str]]:
    """The first line of each file that may hold reviews or metadata, and a remark on each other file of a folder.

    Raises InvalidDataset for a file that was named and is empty.
    """
    found, passed_over = dict[Path, str](), list[str]()
    for path in source.files():
        named = path in source.paths
        first = _first_line(path) if named or path.suffix in SUFFIXES else ""
        if first:
            found[path] = first
        elif named:
            raise InvalidDataset(f"{path}: row 1: must be {EXPECTED}")
        else:
            passed_over.append(f"{path.name} was passed over: it is empty, or neither JSON nor CSV")
    return found, passed_over


def _sorted_out(found: Mapping[Path, str]) -> tuple[Path, list[Path]]:
    """The file of reviews, and those of metadata."""
    reviews, metadata = list[Path](), list[Path]()
    for path, first in found.items():
        if first.startswith("{"):
            record = _record(path, 1, first)
            (reviews if any(column in record for column in RELEASES) else metadata).append(path)
        elif _has_rating_header(first) or _rating_columns(first):
            reviews.append(path)
        else:
            raise InvalidDataset(f"{path}: row 1: must be {EXPECTED}")
    return _only(reviews), metadata


def _first_line(path: Path) -> str:
    return next((line for _, line in lines_of(path)), "")


def _only(paths: list[Path]) -> Path:
    if not paths:
        raise InvalidDataset("--path: none of the files holds reviews")
    if len(paths) > 1:
        raise InvalidDataset(f"{paths[1]}: holds reviews, and so does {paths[0]}: give one file of reviews")
    return paths[0]


def _reviews(path: Path, first: str) -> pd.DataFrame:
    if not first.startswith("{"):
        return _rating_table(path, first)
    release = next(column for column in RELEASES if column in _record(path, 1, first))
    columns = RELEASES[release]
    records = (_record(path, row, line) for row, (_, line) in enumerate(lines_of(path), start=1))
    rows = [[record.get(column) for column in columns] for record in records]
    table = pd.DataFrame(rows, columns=list(columns), dtype=object)
    return _typed(table, path, columns, "ms" if release == "user_id" else "s")


def _rating_columns(first: str) -> list[str] | None:
    """The columns of a table of ratings without a header, by its first line; none when it is no such line."""
    fields = first.split(",")
    are_items = [ITEM_ID.fullmatch(value) is not None for value in fields[:2]]
    if len(fields) != len(LOG) or sum(are_items) != 1:
        return None
    return ["item_id", "user_id", *LOG[2:]] if are_items[0] else LOG


def _has_rating_header(first: str) -> bool:
    return "rating" in first.split(",")


def _rating_table(path: Path, first: str) -> pd.DataFrame:
    if _has_rating_header(first):
        return _typed(read_separated(path, TextForm(), texts=()), path, RELEASES["user_id"], "ms")
    table = read_separated(path, TextForm(), _rating_columns(first), texts=())
    return _typed(table, path, ("user_id", "item_id", "rating", "time"), "s")


def _typed(table: pd.DataFrame, path: Path, columns: tuple[str, str, str, str], unit: Any) -> pd.DataFrame:
    user, item, rating, time = columns
    stars = numbers_of(table, path, rating)
    refuse_rows(~stars.between(1, 5), f"{rating} must be from 1 to 5", path)
    parts = (ids_of(table, path, user), ids_of(table, path, item), stars)
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


def _known(metadata: list[Path], item_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """What is known of wanted items; of several records the later ones add to the first, and replace what they have."""
    known: dict[str, dict[str, Any]] = {}
    for path in metadata:
        for item_id, record in _metadata(path, item_ids):
            told = {name: value for name, value in record.items() if _says_something(value)}
            known[item_id] = known.get(item_id, {}) | told
    return known


def _says_something(value: object) -> bool:
    return bool(plain(value)) if isinstance(value, str) else value not in (None, [], {})


def _metadata(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of wanted items; other lines, most of a whole category, are not even parsed."""
    for row, (_, line) in enumerate(lines_of(path), start=1):
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
        CATEGORIES.get(scenario, "categories"): (path[1:] or path) or None,  # all share the first
        "price": _price(record.get("price")),
        "description": _plain(record.get("description"))[:DESCRIPTION_CHARACTERS].rstrip(),
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
    return plain(" ".join(map(str, value)) if isinstance(value, list) else str(value or ""))


def _record(path: Path, row: int, line: str) -> dict[str, Any]:
    record = json_object(line) or _literal(line)  # 2014's metadata
    if not isinstance(record, dict):
        raise InvalidDataset(f"{path}: row {row}: must be a JSON object")
    return record


def _literal(line: str) -> object:
    """The value that a line says in Python's notation, where `nan` is None; None too when it says none."""
    try:
        return ast.literal_eval(_NoNumbers().visit(ast.parse(line, mode="eval")))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


class _NoNumbers(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(None) if node.id.lower() in {"nan", "null", "inf"} else node
