"""The one schema that every dataset is brought into."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from loreline.domain import AttributeValue, Item, check_attributes, check_id, check_item
from services.scenarios import Scenario, UnknownScenario, load_scenario

COLUMNS = {"user_id": "str", "item_id": "str", "rating": "float32", "time": "int64"}
CLOCKS_DIFFER_SECONDS = 86_400

NARROWING = ("users", "items")  # options of a dataset whose log may be cut to so many of them


class InvalidDataset(Exception):
    """The data does not have the schema; the message names the column and the first bad row."""


@dataclass(frozen=True)
class DatasetSource:
    """Where a dataset is: files or folders of the user's; none for a dataset that is fetched. `options` by name."""

    paths: tuple[Path, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def check_options(self, known: Sequence[str]) -> None:
        """Raise InvalidDataset for an option that the dataset does not have."""
        for name in self.options:
            if name not in known:
                raise InvalidDataset(f"--option: must be one of {', '.join(known) or 'none at all'}, is {name!r}")

    def number(self, name: str) -> int:
        """An option that counts something; 0 when it was not given. Raises InvalidDataset."""
        value = self.options.get(name, "0")
        if not (value.isascii() and value.isdecimal()):
            raise InvalidDataset(f"--option: {name} must be a whole number, is {value!r}")
        return int(value)

    def narrowed(self, dataset: Dataset) -> Dataset:
        """The dataset with as many `users` and `items` as the options say. Raises InvalidDataset."""
        narrowed = dataset.narrowed(self.number("users"), self.number("items"))
        if narrowed.interactions.empty:
            raise InvalidDataset("--option: no interaction is left with so few users and items")
        return narrowed

    def folder(self) -> Path:
        """The one folder. Raises InvalidDataset."""
        if len(self.paths) != 1 or not self.paths[0].is_dir():
            given = ", ".join(map(str, self.paths)) or "nothing"
            raise InvalidDataset(f"--path: must be the one folder that holds the dataset's files, is {given}")
        return self.paths[0]

    def file(self) -> Path:
        """The one file. Raises InvalidDataset."""
        if len(self.paths) != 1 or not self.paths[0].is_file():
            given = ", ".join(map(str, self.paths)) or "nothing"
            raise InvalidDataset(f"--path: must be the one file that describes the dataset, is {given}")
        return self.paths[0]

    def files(self) -> list[Path]:
        """All files, those of given folders included, in order of their names. Raises InvalidDataset."""
        if not self.paths:
            raise InvalidDataset("--path: must name the dataset's files, or a folder of them")
        for path in self.paths:
            if not path.exists():
                raise InvalidDataset(f"--path: there is no {path}")
        nested = [_files_in(path) if path.is_dir() else [path] for path in self.paths]
        return [file for files in nested for file in files]

    def nothing(self) -> None:
        """For a dataset that is fetched. Raises InvalidDataset when files were given."""
        if self.paths:
            raise InvalidDataset("--path: this dataset is fetched, it takes no files")


@dataclass(frozen=True)
class Dataset:
    """Items by id, users' attributes by id, and the log of interactions.

    `interactions` has the columns of COLUMNS: ids as text, the rating in the scenario's unit (NaN: none given), the
    time in seconds since 1970-01-01 UTC; and `label` (0 or 1) where ratings do not tell it. It is sorted by time; equal
    times keep the order of the file. `remarks` say what a person should know of how the files were read.
    """

    name: str
    scenario: str
    items: Mapping[str, Item]
    users: Mapping[str, Mapping[str, AttributeValue]]
    interactions: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def content_hash(self) -> str:
        """SHA-256 over the interactions and the items."""
        digest = hashlib.sha256()
        digest.update(pd.util.hash_pandas_object(self.interactions, index=False).to_numpy().tobytes())
        for item_id in sorted(self.items):
            digest.update(repr(self.items[item_id]).encode())
        return digest.hexdigest()

    def without_items(self, item_ids: set[str]) -> Dataset:
        """The dataset as if these items had never been there."""
        kept = self.interactions[~self.interactions["item_id"].isin(item_ids)].reset_index(drop=True)
        items = {item_id: item for item_id, item in self.items.items() if item_id not in item_ids}
        return replace(self, items=items, interactions=kept)

    def narrowed(self, users: int, items: int) -> Dataset:
        """The log of so many users, evenly spaced among all, with the items that they act on most; 0 keeps all.

        Users and items without interactions are left out where their number is bounded.
        """
        log, kept_users, kept_items = self.interactions, self.users, self.items
        if users:
            there = log["user_id"].drop_duplicates().sort_values(key=lambda ids: ids.str.zfill(64)).to_numpy()
            chosen = set(there[np.linspace(0, len(there) - 1, min(users, len(there))).astype(np.int64)])
            log = log[log["user_id"].isin(chosen)]
            kept_users = {user_id: known for user_id, known in self.users.items() if user_id in chosen}
        if items:
            common = set(log["item_id"].value_counts(sort=True).sort_index(kind="stable").nlargest(items).index)
            log = log[log["item_id"].isin(common)]
            kept_items = {item_id: item for item_id, item in self.items.items() if item_id in common}
        return replace(self, users=kept_users, items=kept_items, interactions=log.reset_index(drop=True))


def latest_second() -> int:
    """The last second that what has happened can carry: a day from now, as clocks differ."""
    return int(time.time()) + CLOCKS_DIFFER_SECONDS


def newest_items(dataset: Dataset, count: int) -> list[Item]:
    """The `count` items whose first interaction came last, in the order in which they appeared.

    Equal times are ordered by id. Raises ValueError when the dataset has not more than `count` items with interactions.
    """
    first = dataset.interactions.groupby("item_id")["time"].min().reset_index()
    if not 0 <= count < len(first):
        raise ValueError(f"must hold out 0 to {len(first) - 1} items, got {count}")
    ordered = first.sort_values(["time", "item_id"])["item_id"].tolist()
    return [dataset.items[item_id] for item_id in ordered[len(ordered) - count :]]


def check_interactions(
    interactions: pd.DataFrame,
    items: Mapping[str, Item],
    users: Mapping[str, Mapping[str, AttributeValue]] | None = None,
    path: Path | None = None,
) -> pd.DataFrame:
    """The interactions with COLUMNS' types, sorted by time. Raises InvalidDataset, naming the file `path` if given.

    With a column `label` (0 or 1) ratings may be missing. With `users`, every user must be one of them.
    """
    missing = [column for column in COLUMNS if column not in interactions]
    if missing:
        raise InvalidDataset(f"column {missing[0]!r} is missing; there must be {', '.join(COLUMNS)}")
    if interactions.empty:
        raise InvalidDataset(f"{f'{path}: ' if path else ''}there are no interactions")
    labelled = "label" in interactions
    for column in COLUMNS:
        if column != "rating" or not labelled:
            refuse_rows(interactions[column].isna(), f"{column} must have a value", path)
    types = COLUMNS | ({"label": "float32"} if labelled else {})
    typed = interactions[list(types)].astype(types)
    refuse_rows(typed["rating"].abs() == np.inf, "rating must be a finite number", path)
    refuse_rows(~typed["time"].between(0, latest_second()), "time must lie between 1970 and now, in seconds", path)
    refuse_rows(~typed["item_id"].isin(items.keys()), "item_id must be an item of the catalogue", path)
    if users is not None:
        refuse_rows(~typed["user_id"].isin(users.keys()), "user_id must be one of the users", path)
    return typed.sort_values("time", kind="stable").reset_index(drop=True)


def users_of(log: pd.DataFrame) -> dict[str, dict[str, AttributeValue]]:
    """Every user of a log, without attributes. Raises InvalidDataset when an id is out of the contracts' limits."""
    users: dict[str, dict[str, AttributeValue]] = {user_id: {} for user_id in log["user_id"].unique()}
    check_users(users)
    return users


def check_users(users: Mapping[str, Mapping[str, AttributeValue]], path: Path | None = None) -> None:
    """Raise InvalidDataset for the first user that is out of the contracts' limits; users stand in the file's order."""
    for row, (user_id, attributes) in enumerate(users.items(), start=1):
        violations = [*check_id("user_id", user_id), *check_attributes(attributes, "attributes")]
        _refuse_violations(violations, f"{path}: row {row}" if path else f"user {user_id!r}")


def check_items(items: Mapping[str, Item], path: Path | None = None) -> None:
    """Raise InvalidDataset for the first item that is out of the contracts' limits; items stand in the file's order."""
    for row, item in enumerate(items.values(), start=1):
        _refuse_violations([*check_item(item)], f"{path}: row {row}" if path else f"item {item.item_id!r}")


def scenario_named(name: str) -> Scenario:
    """The scenario. Raises InvalidDataset when there is none of that name."""
    try:
        return load_scenario(name)
    except UnknownScenario as error:
        raise InvalidDataset(f"scenario: {error}; is {name!r}") from error


def labels(dataset: Dataset) -> npt.NDArray[np.float32]:
    """(R,) 1 where an interaction is positive: its label, or a rating above the scenario's bound."""
    log = dataset.interactions
    if "label" in log:
        return log["label"].to_numpy(dtype=np.float32)
    positive = log["rating"] > load_scenario(dataset.scenario).positive_above
    return positive.to_numpy().astype(np.float32)


def refuse_rows(wrong: pd.Series, rule: str, path: Path | None = None) -> None:
    """Raise InvalidDataset with the first wrong row, counted from 1, if there is one."""
    if wrong.any():
        where = f"{path}: " if path else ""
        row = int(wrong.to_numpy().argmax()) + 1
        raise InvalidDataset(f"{where}row {row}: {rule} ({int(wrong.sum())} rows break this)")


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _refuse_violations(violations: Sequence[tuple[str, str]], place: str) -> None:
    if violations:
        field_name, rule = violations[0]
        raise InvalidDataset(f"{place}: {field_name} {rule}")
