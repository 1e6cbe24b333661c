"""Any dataset of three files, described by a mapping in YAML: a new one needs no code.

name: my-shop
scenario: retail                       # a scenario by name: what a positive rating is, fields, prompts
items:
  file: items.parquet                  # relative to the mapping's own folder
  encoding: utf-8                      # of a CSV, TSV or JSON lines, as Python names it
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
  separator: ";"                       # of a CSV; otherwise a comma, in a .tsv a tab
  quoting: none                        # double: values may stand in double quotes, as in a .csv unless said; none: a
                                       # quote is a letter, as in a .tsv unless said
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
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

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
    Quoting,
    TextForm,
    TimeUnit,
    attribute_values,
    check_encoding,
    column_of,
    ids_of,
    numbers_of,
    read_table,
    seconds_of,
    texts_of,
)
from services.trainer.data.datasets.texts import clean_title, fitted


class Strict(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AttributeMapping(Strict):
    """One attribute's column."""

    column: str
    type: Literal["text", "number", "list"] = "text"
    separator: str = "|"


class FileMapping(Strict):
    """A file, and how it is written."""

    file: Path
    encoding: Annotated[str, AfterValidator(check_encoding)] | None = None
    separator: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    quoting: Quoting | None = None

    def read(self, folder: Path, texts: Collection[str]) -> pd.DataFrame:
        """The table, of whose columns only `texts` may hold line breaks. Raises InvalidDataset."""
        return read_table(folder / self.file, TextForm(self.encoding, self.separator, self.quoting), texts)


class UserMapping(FileMapping):
    """The file of users."""

    id: str
    attributes: dict[str, AttributeMapping] = {}

    @property
    def texts(self) -> list[str]:
        """Columns that hold what people wrote."""
        return [attribute.column for attribute in self.attributes.values() if attribute.type != "number"]


class ItemMapping(UserMapping):
    """The file of items."""

    title: str

    @property
    def texts(self) -> list[str]:
        """Columns that hold what people wrote."""
        return [self.title, *super().texts]


class InteractionMapping(FileMapping):
    """The file of interactions."""

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
    items, remarks = _items(folder, mapping.items, mapping.scenario)
    known, more = _users(folder, mapping.users) if mapping.users else (None, ())
    log = _interactions(folder, mapping.interactions, scenario)
    _refuse_unknown(folder, mapping, log, items, known)
    users = users_of(log) if known is None else known
    checked = check_interactions(log, items, users)
    return Dataset(mapping.name, mapping.scenario, items, users, checked, (*remarks, *more))


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


def _items(folder: Path, mapping: ItemMapping, scenario: str) -> tuple[dict[str, Item], tuple[str, ...]]:
    path, table = folder / mapping.file, mapping.read(folder, mapping.texts)
    ids = ids_of(table, path, mapping.id, unique=True)
    attributes, remarks = fitted(dict(zip(ids, _attributes(table, path, mapping), strict=True)), "items")
    titles = texts_of(table, path, mapping.title).map(clean_title)
    refuse_rows(titles == "", f"{mapping.title} must be a text", path)
    items = {i: Item(i, scenario, title, attributes[i]) for i, title in zip(ids, titles, strict=True)}
    check_items(items, path)
    return items, remarks


def _users(folder: Path, mapping: UserMapping) -> tuple[dict[str, dict[str, AttributeValue]], tuple[str, ...]]:
    path, table = folder / mapping.file, mapping.read(folder, mapping.texts)
    ids = ids_of(table, path, mapping.id, unique=True)
    users, remarks = fitted(dict(zip(ids, _attributes(table, path, mapping), strict=True)), "users")
    check_users(users, path)
    return users, remarks


def _attributes(table: pd.DataFrame, path: Path, mapping: UserMapping) -> list[dict[str, AttributeValue]]:
    columns = {}
    for name, wanted in mapping.attributes.items():
        if wanted.type == "number":
            numbers_of(table, path, wanted.column)
        columns[name] = attribute_values(column_of(table, path, wanted.column), wanted.type, wanted.separator)
    rows = zip(*columns.values(), strict=True) if columns else ((),) * len(table)
    return [{n: v for n, v in zip(columns, row, strict=True) if v is not None} for row in rows]


def _interactions(folder: Path, mapping: InteractionMapping, scenario: Scenario) -> pd.DataFrame:
    path, table = folder / mapping.file, mapping.read(folder, texts=())
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
