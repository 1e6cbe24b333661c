"""Several domains in one log, from the user's files. `--path` names one of

- a folder with `interactions.csv` (domain, user_id, item_id, rating, timestamp [s]) and `items.csv` (domain, item_id,
  title, brand, price, category, description; only the ids must have values), also .gz;
- Amazon review files of several categories, and their metadata, as UCSD publishes them in 2014, 2018 or 2023: files of
  one category share its name, as `Gift_Cards_5.json.gz` and `meta_Gift_Cards.json.gz` do;
- a folder with MovieLens-1M: each film's first genre is its domain. These are pseudo-domains, whose users are shared.

A review above 3 stars is positive. Domains are named as scenarios are, `gift-cards`; where a scenario of that name is
configured the items are its own, else those of the option `scenario` (retail; for MovieLens movies). Options:
`scenario`, `user_core` and `item_core` (Amazon, by category), `largest`: keep so many of the largest domains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from loreline.domain import Item
from services.trainer.data.datasets import amazon, movielens_1m
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
from services.trainer.data.datasets.domains import MultiDomainDataset, domain_name, merged, scenario_of
from services.trainer.data.datasets.movielens_100k import SCENARIO as FILMS
from services.trainer.data.datasets.tables import ids_of, numbers_of, read_table, seconds_of, texts_of

OPTIONS = ("scenario", "user_core", "item_core", "largest")
NAME = "multi-domain"
PSEUDO = "pseudo-domains: the first genre of each MovieLens-1M film, so all domains share their users"
FACTS = ("title", "brand", "price", "category", "description")
TABLES = ("interactions", "items")
KIND = re.compile(r"^(?:meta|reviews|ratings)_", re.IGNORECASE)
ENDS = re.compile(r"(?:\.(?:jsonl?|csv|gz|zip))+$|[-_](?:\d+core|\d{4}|\d{1,2})$", re.IGNORECASE)


def load(source: DatasetSource) -> MultiDomainDataset:
    """The dataset. Raises InvalidDataset naming file, row and what was expected."""
    source.check_options(OPTIONS)
    if not source.paths:
        raise InvalidDataset("--path: must be a folder of interactions.csv and items.csv, of MovieLens-1M, or the files"
                             " of several Amazon categories")  # fmt: skip
    folder = source.paths[0]
    if len(source.paths) == 1 and (folder / "movies.dat").exists():
        return _movielens(source)
    if len(source.paths) == 1 and any(_table(folder, name) for name in TABLES):
        return _folder(source, folder)
    return _amazon(source)


def _folder(source: DatasetSource, folder: Path) -> MultiDomainDataset:
    scenario = scenario_named(source.options.get("scenario", "retail")).name
    paths = {name: _table(folder, name) for name in TABLES}
    for name, path in paths.items():
        if path is None:
            raise InvalidDataset(f"{folder}: must hold {name}.csv or {name}.csv.gz")
    log_path, items_path = (path for path in paths.values() if path)
    log, catalogue = read_table(log_path, texts=()), read_table(items_path, texts=FACTS)
    items, remarks = _items(catalogue, items_path, scenario)
    reviews = _reviews(log, log_path)
    domains = texts_of(log, log_path, "domain").map(domain_name)
    refuse_rows(domains == "", "domain must have a value", log_path)
    pairs = pd.Series(list(zip(domains, reviews["item_id"], strict=True)), dtype=object)
    refuse_rows(~pairs.isin(list(items)), f"item_id must be an item of its domain in {items_path.name}", log_path)
    parts = {
        str(domain): _part(str(domain), scenario, reviews.loc[rows], items)
        for domain, rows in reviews.groupby(domains.to_numpy()).groups.items()
    }
    return replace(merged(NAME, scenario, parts, largest=source.number("largest")), remarks=remarks)


def _items(table: pd.DataFrame, path: Path, scenario: str) -> tuple[dict[tuple[str, str], Item], tuple[str, ...]]:
    domains, ids = texts_of(table, path, "domain").map(domain_name), ids_of(table, path, "item_id")
    keys = pd.Series(list(zip(domains, ids, strict=True)), dtype=object)
    refuse_rows(keys.duplicated(), "item_id must be there once in its domain", path)
    facts = {name: texts_of(table, path, name) for name in FACTS}
    numbers_of(table, path, "price")
    rows = zip(keys, zip(*facts.values(), strict=True), strict=True)
    items = {key: _item(key, scenario, dict(zip(facts, values, strict=True))) for key, values in rows}
    named, remarks = amazon.fitted_items({f"{domain} {item_id}": item for (domain, item_id), item in items.items()})
    check_items(named, path)
    return dict(zip(items, named.values(), strict=True)), remarks


def _item(key: tuple[str, str], scenario: str, facts: Mapping[str, str]) -> Item:
    domain, item_id = key
    record = {**facts, "category": facts["category"].split(" > ")}
    return amazon.item_of(item_id, scenario_of(domain, scenario), record)


def _reviews(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    columns = {"user_id": ids_of(table, path, "user_id"), "item_id": ids_of(table, path, "item_id")}
    rating = numbers_of(table, path, "rating")
    refuse_rows(~rating.between(1, 5), "rating must be from 1 to 5", path)
    return pd.DataFrame({**columns, "rating": rating, "time": seconds_of(table, path, "timestamp", "s")})


def _part(domain: str, scenario: str, log: pd.DataFrame, items: Mapping[tuple[str, str], Item]) -> Dataset:
    used = {item_id: items[domain, item_id] for item_id in dict.fromkeys(log["item_id"])}
    return Dataset(domain, scenario, used, users_of(log), check_interactions(log, used))


def _amazon(source: DatasetSource) -> MultiDomainDataset:
    scenario = scenario_named(source.options.get("scenario", "retail")).name
    parts = {}
    found, passed_over = amazon.written_files(source)
    for category, paths in _by_category(found).items():
        options = {name: value for name, value in source.options.items() if name != "largest"}
        named = {**options, "scenario": scenario_of(category, scenario)}
        try:
            parts[category] = amazon.load(DatasetSource(tuple(paths), named))
        except InvalidDataset as error:
            raise InvalidDataset(f"category {category}: {error}") from error
    dataset = merged(NAME, scenario, parts, largest=source.number("largest"))
    return replace(dataset, remarks=(*passed_over, *dataset.remarks))


def _by_category(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The files of each category."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        domain = domain_name(_category(path.name))
        if not domain:
            raise InvalidDataset(f"{path}: must be named after its category, in letters a to z or digits")
        found.setdefault(domain, []).append(path)
    return found


def _category(name: str) -> str:
    """`meta_Gift_Cards.json.gz` and `Gift_Cards_5.json.gz` are both of `Gift_Cards`."""
    name = KIND.sub("", name)
    while (shorter := ENDS.sub("", name)) != name:
        name = shorter
    return name


def _movielens(source: DatasetSource) -> MultiDomainDataset:
    scenario = scenario_named(source.options.get("scenario", FILMS)).name
    dataset = movielens_1m.load(DatasetSource(source.paths))
    domain_of = {item_id: _genre(item) for item_id, item in dataset.items.items()}
    parts = {
        str(domain): _slice(dataset, str(domain), scenario, rows, domain_of)
        for domain, rows in dataset.interactions.groupby(dataset.interactions["item_id"].map(domain_of)).groups.items()
    }
    return merged(NAME, scenario, parts, PSEUDO, source.number("largest"))


def _genre(item: Item) -> str:
    genres = item.attributes.get("genres")
    named = domain_name(str(genres[0])) if isinstance(genres, list) and genres else ""
    return named or "other"


def _slice(dataset: Dataset, domain: str, scenario: str, rows: pd.Index, domain_of: Mapping[str, str]) -> Dataset:
    own = scenario_of(domain, scenario)
    log = dataset.interactions.loc[rows].reset_index(drop=True)
    items = {
        item_id: Item(item_id, own, item.title, item.attributes)
        for item_id, item in dataset.items.items()
        if domain_of[item_id] == domain
    }
    users = {user_id: dataset.users[user_id] for user_id in log["user_id"].unique()}
    return Dataset(domain, scenario, items, users, log)


def _table(folder: Path, name: str) -> Path | None:
    return next((path for end in (".csv", ".csv.gz") if (path := folder / f"{name}{end}").exists()), None)
