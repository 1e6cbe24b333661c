"""Any dataset of three files, described by a mapping in YAML: a new one needs no code.

name: my-shop
scenario: retail                       # a scenario by name: what a positive rating is, fields, prompts
items:
  file: items.parquet                  # relative to the mapping's own folder
  id: sku
  title: name
  attributes:                          # by the scenario's attribute names
    brand: {column: brand}
    price: {column: price, type: number}
    categories: {column: path, type: list, separator: " > "}
users:                                 # may be left out
  file: users.csv
  id: customer
  attributes:
    age: {column: age, type: number}
interactions:
  file: log.csv.gz
  user: customer
  item: sku
  rating: stars                        # or `label`: a column of 0 and 1; or both
  time: at
  time_unit: ms                        # s, ms, us or iso8601, UTC
  sorted: true                         # refuse a log that is not in order of time; otherwise it is sorted
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from loreline.domain import AttributeValue, Item
from services.scenarios import Scenario
from services.trainer.data.datasets.dataset import (
    Dataset,
    DatasetSource,
    InvalidDataset,
    check_interactions,
    check_items,
    check_users,
    refuse_rows,
    scenario_named,
    users_of,
)
from services.trainer.data.datasets.tables import (
    TimeUnit,
    attribute_values,
    clean_title,
    column_of,
    ids_of,
    numbers_of,
    read_table,
    seconds_of,
    texts_of,
)


class Strict(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AttributeMapping(Strict):
    """One attribute's column."""

    column: str
    type: Literal["text", "number", "list"] = "text"
    separator: str = "|"


class UserMapping(Strict):
    """The file of users."""

    file: Path
    id: str
    attributes: dict[str, AttributeMapping] = {}


class ItemMapping(UserMapping):
    """The file of items."""

    title: str


class InteractionMapping(Strict):
    """The file of interactions."""

    file: Path
    user: str
    item: str
    rating: str | None = None
    label: str | None = None
    time: str
    time_unit: TimeUnit = "s"
    sorted: bool = False

    @model_validator(mode="after")
    def _judged(self) -> InteractionMapping:
        if self.rating is None and self.label is None:
            raise ValueError("must name a column of ratings or of labels")
        return self


class Mapping(Strict):
    """The whole of it."""

    name: str
    scenario: str
    items: ItemMapping
    users: UserMapping | None = None
    interactions: InteractionMapping


def load(source: DatasetSource) -> Dataset:
    """The dataset that the mapping file describes. Raises InvalidDataset naming file, column, row and what is wrong."""
    source.check_options(())
    path = source.file()
    mapping = read_mapping(path)
    folder, scenario = path.parent, scenario_named(mapping.scenario)
    items = _items(folder / mapping.items.file, mapping.items, mapping.scenario)
    known = _users(folder / mapping.users.file, mapping.users) if mapping.users else None
    log = _interactions(folder / mapping.interactions.file, mapping.interactions, scenario)
    _refuse_unknown(folder, mapping, log, items, known)
    users = users_of(log) if known is None else known
    return Dataset(mapping.name, mapping.scenario, items, users, check_interactions(log, items, users))


def read_mapping(path: Path) -> Mapping:
    """A mapping file. Raises InvalidDataset naming the field."""
    try:
        return Mapping.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InvalidDataset(f"{path}: must be YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise InvalidDataset(f"{path}: {faults}") from error


def _items(path: Path, mapping: ItemMapping, scenario: str) -> dict[str, Item]:
    table = read_table(path)
    ids, attributes = ids_of(table, path, mapping.id, unique=True), _attributes(table, path, mapping)
    titles = texts_of(table, path, mapping.title).map(clean_title)
    refuse_rows(titles == "", f"{mapping.title} must be a text", path)
    items = {i: Item(i, scenario, title, known) for i, title, known in zip(ids, titles, attributes, strict=True)}
    check_items(items, path)
    return items


def _users(path: Path, mapping: UserMapping) -> dict[str, dict[str, AttributeValue]]:
    table = read_table(path)
    ids = ids_of(table, path, mapping.id, unique=True)
    users = dict(zip(ids, _attributes(table, path, mapping), strict=True))
    check_users(users, path)
    return users


def _attributes(table: pd.DataFrame, path: Path, mapping: UserMapping) -> list[dict[str, AttributeValue]]:
    columns = {}
    for name, wanted in mapping.attributes.items():
        if wanted.type == "number":
            numbers_of(table, path, wanted.column)
        columns[name] = attribute_values(column_of(table, path, wanted.column), wanted.type, wanted.separator)
    rows = zip(*columns.values(), strict=True) if columns else ((),) * len(table)
    return [{n: v for n, v in zip(columns, row, strict=True) if v is not None} for row in rows]


def _interactions(path: Path, mapping: InteractionMapping, scenario: Scenario) -> pd.DataFrame:
    table = read_table(path)
    log = pd.DataFrame(
        {
            "user_id": ids_of(table, path, mapping.user),
            "item_id": ids_of(table, path, mapping.item),
            "rating": _ratings(table, path, mapping, scenario),
            "time": seconds_of(table, path, mapping.time, mapping.time_unit),
        }
    )
    if mapping.label:
        label = numbers_of(table, path, mapping.label)
        refuse_rows(~label.isin([0, 1]), f"{mapping.label} must be 0 or 1", path)
        log["label"] = label
    if mapping.sorted:
        refuse_rows(log["time"].diff() < 0, f"{mapping.time} must not be before the row above", path)
    return log


def _ratings(table: pd.DataFrame, path: Path, mapping: InteractionMapping, scenario: Scenario) -> pd.Series:
    if mapping.rating is None:
        return pd.Series(np.nan, index=table.index)
    ratings, lowest, highest = numbers_of(table, path, mapping.rating), scenario.minimum_rating, scenario.maximum_rating
    if mapping.label is None:
        refuse_rows(ratings.isna(), f"{mapping.rating} must have a value", path)
    outside = ratings.notna() & ~ratings.between(lowest, highest)
    rule = f"{mapping.rating} must be from {lowest:g} to {highest:g}, as in scenario {scenario.name}"
    refuse_rows(outside, rule, path)
    return ratings


def _refuse_unknown(
    folder: Path, mapping: Mapping, log: pd.DataFrame, items: dict[str, Item], users: Collection[str] | None
) -> None:
    path, wanted = folder / mapping.interactions.file, mapping.interactions
    unknown = ~log["item_id"].isin(items.keys())
    refuse_rows(unknown, f"{wanted.item} must be an item of {mapping.items.file}", path)
    if mapping.users is not None and users is not None:
        unknown = ~log["user_id"].isin(list(users))
        refuse_rows(unknown, f"{wanted.user} must be a user of {mapping.users.file}", path)
