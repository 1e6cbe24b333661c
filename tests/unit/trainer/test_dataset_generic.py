"""A dataset that a mapping describes: no code."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource, labels
from services.trainer.data.datasets.dataset import InvalidDataset
from services.trainer.data.interaction_log import interaction_log
from services.trainer.data.offline_store import preference_histories

MAPPING: dict[str, Any] = {
    "name": "shop",
    "scenario": "movies",
    "items": {
        "file": "items.jsonl",
        "id": "sku",
        "title": "name",
        "attributes": {
            "genres": {"column": "kinds", "type": "list", "separator": ";"},
            "year": {"column": "made", "type": "number"},
            "maker": {"column": "maker"},
        },
    },
    "users": {"file": "users.csv", "id": "customer", "attributes": {"age": {"column": "age", "type": "number"}}},
    "interactions": {"file": "log.parquet", "user": "customer", "item": "sku", "rating": "stars", "time": "at"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two items as JSON lines, two users as CSV, three interactions as Parquet, and the mapping."""
    items = [
        {"sku": 1, "name": "Salt &amp; Sea", "kinds": "Drama;War", "made": 1990, "maker": "A. Maker"},
        {"sku": 2, "name": "Second", "kinds": "", "made": None, "maker": None},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (tmp_path / "users.csv").write_text("customer,age\nu1,31\nu2,\n")
    write_log(tmp_path)
    write_mapping(tmp_path)
    return tmp_path


def write_log(folder: Path, **columns: object) -> None:
    log = {"customer": ["u1", "u2", "u1"], "sku": [2, 1, 1], "stars": [2.0, 5.0, 4.0], "at": [30, 10, 20]}
    pd.DataFrame({**log, **columns}).to_parquet(folder / "log.parquet")


def write_mapping(folder: Path, part: str = "interactions", **changes: object) -> None:
    changed = {**MAPPING, part: {**MAPPING[part], **changes}}
    changed[part] = {name: value for name, value in changed[part].items() if value is not None}
    (folder / "shop.yaml").write_text(yaml.safe_dump(changed))


def load(folder: Path) -> Dataset:
    return DATASETS["generic"](DatasetSource((folder / "shop.yaml",)))


def test_three_files_of_three_formats_become_one_dataset(folder: Path) -> None:
    """Whole ids stay whole, entities are text, empty values are left out, and the log is sorted."""
    dataset = load(folder)
    assert (dataset.name, dataset.scenario) == ("shop", "movies")
    assert dataset.items["1"].title == "Salt & Sea"
    assert dataset.items["1"].attributes == {"genres": ["Drama", "War"], "year": 1990.0, "maker": "A. Maker"}
    assert dataset.items["2"].attributes == {}
    assert dataset.users == {"u1": {"age": 31.0}, "u2": {}}
    assert dataset.interactions[["user_id", "item_id", "time"]].to_numpy().tolist() == [
        ["u2", "1", 10], ["u1", "1", 20], ["u1", "2", 30]
    ]  # fmt: skip


def test_the_file_of_users_may_be_left_out(folder: Path) -> None:
    """Those of the log are known, without attributes."""
    (folder / "shop.yaml").write_text(yaml.safe_dump({k: v for k, v in MAPPING.items() if k != "users"}))
    assert load(folder).users == {"u1": {}, "u2": {}}


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("s", [1_000_000_030, 1_000_000_010, 1_000_000_020]),
        ("ms", [1_000_000_030_500, 1_000_000_010_000, 1_000_000_020_000]),
        ("iso8601", ["2001-09-09T01:47:10Z", "2001-09-09T03:46:50+02:00", "2001-09-09 01:47:00"]),
        ("iso8601", pd.to_datetime([1_000_000_030, 1_000_000_010, 1_000_000_020], unit="s")),
    ],
)
def test_times_of_every_unit_become_whole_seconds_of_utc(folder: Path, unit: str, values: list[object]) -> None:
    """A time without a zone is UTC."""
    write_log(folder, at=values)
    write_mapping(folder, time_unit=unit)
    assert load(folder).interactions["time"].tolist() == [1_000_000_010, 1_000_000_020, 1_000_000_030]


def test_labels_may_stand_in_the_place_of_ratings(folder: Path) -> None:
    """A history says that none was given, and so does a prompt."""
    write_log(folder, clicked=[0, 1, 1])
    write_mapping(folder, rating=None, label="clicked")
    dataset = load(folder)
    assert labels(dataset).tolist() == [1, 1, 0]
    columns, _ = interaction_log(dataset)
    assert columns.rating.tolist() == [0, 0, 0]
    assert sorted(columns.label.tolist()) == [0, 1, 1]
    assert all(entry.rating is None for history, _ in preference_histories(dataset) for entry in history.entries)


@pytest.mark.parametrize(
    ("log", "mapping", "words"),
    [
        ({"stars": [1.0, np.nan, 2.0]}, {}, r"log\.parquet: row 2: stars must have a value"),
        ({"stars": [1.0, 2.0, 7.0]}, {}, "row 3: stars must be from 1 to 5, as in scenario movies"),
        ({"customer": ["u1", "u9", "u9"]}, {}, r"row 2: customer must be a user of users\.csv \(2 rows"),
        ({"at": [1_400_000_000] * 3}, {"time_unit": "ms"}, "at lies in 1970 as a whole: is its unit s and not ms"),
        ({"stars": ["1", "good", "2"]}, {}, r"log\.parquet: row 2: stars must be a number, is 'good'"),
        ({"at": [10**12, 10, 20]}, {}, "row 1: at must lie between 1970 and now: is its unit s"),
        ({"at": ["soon", "2001-01-01", "2001-01-01"]}, {"time_unit": "iso8601"}, "row 1: at must be an ISO 8601 time"),
        ({"sku": [1, 7, 2]}, {}, r"log\.parquet: row 2: sku must be an item of items\.jsonl"),
        ({}, {"sorted": True}, r"row 2: at must not be before the row above \(1 rows"),
        ({}, {"time": "when"}, "there is no column 'when'; there are customer, sku, stars, at"),
        ({"clicked": [0, 2, 1]}, {"label": "clicked"}, "row 2: clicked must be 0 or 1"),
        ({}, {"rating": None}, "interactions: Value error, must name a column of ratings or of labels"),
        ({}, {"file": "log.xlsx"}, r"log\.xlsx: must be one of \.parquet"),
        ({}, {"file": "gone.csv"}, r"gone\.csv: cannot be read"),
        ({}, {"stars": "x"}, r"shop\.yaml: interactions\.stars: Extra inputs"),
    ],
)
def test_what_is_wrong_is_named_by_file_column_and_row(
    folder: Path, log: dict[str, object], mapping: dict[str, object], words: str
) -> None:
    """With what was expected."""
    write_log(folder, **log)
    write_mapping(folder, **mapping)
    with pytest.raises(InvalidDataset, match=words):
        load(folder)


def test_an_item_that_is_there_twice_is_named(folder: Path) -> None:
    """By its row."""
    line = json.dumps({"sku": 1, "name": "Again", "kinds": "", "made": 1, "maker": ""})
    (folder / "items.jsonl").write_text((folder / "items.jsonl").read_text() + "\n" + line)
    with pytest.raises(InvalidDataset, match=r"items\.jsonl: row 3: sku must be there once"):
        load(folder)


def test_an_item_without_a_title_is_named(folder: Path) -> None:
    """No prompt could ask about it."""
    (folder / "items.jsonl").write_text(json.dumps({"sku": 1, "name": " ", "kinds": "", "made": 1, "maker": ""}))
    with pytest.raises(InvalidDataset, match="row 1: name must be a text"):
        load(folder)


def test_a_broken_line_of_json_is_named(folder: Path) -> None:
    """The first of them, and how many there are."""
    lines = (folder / "items.jsonl").read_text().splitlines()
    (folder / "items.jsonl").write_text("\n".join([lines[0], "{broken", "[1]", lines[1]]))
    with pytest.raises(InvalidDataset, match=r"items\.jsonl: row 2: must be a JSON object \(2 rows"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("customer,age\nu1,31,7\nu2,3,8\n", "row 1: must have 2 values, has 3"),
        ("customer,age\nu1,31\nu2,3,8\n", "row 2: must have 2 values, has 3"),
        ("customer,age\nu1,old\nu2,3\n", r"row 1: age must be a number, is 'old'"),
        ("customer,age\nu1,inf\nu2,3\n", "row 1: age must be a number, is 'inf'"),
        ("customer,age\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_a_wrong_csv_is_named(folder: Path, content: str, words: str) -> None:
    """By row or line."""
    (folder / "users.csv").write_text(content)
    with pytest.raises(InvalidDataset, match=r"users\.csv: .*" + words):
        load(folder)


def test_a_cut_file_is_named(folder: Path) -> None:
    """A download that was broken off."""
    (folder / "users.csv.gz").write_bytes(gzip.compress(b"customer,age\nu1,31\n" * 99)[:40])
    write_mapping(folder, "users", file="users.csv.gz")
    with pytest.raises(InvalidDataset, match=r"users\.csv\.gz: cannot be read"):
        load(folder)


def test_titles_that_are_numbers_are_titles(folder: Path) -> None:
    """In JSON and Parquet they come as numbers."""
    items = [{"sku": sku, "name": 1984, "kinds": "", "made": 1, "maker": ""} for sku in (1, 2)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    assert load(folder).items["2"].title == "1984"


def test_dates_without_a_time_begin_at_midnight_of_utc(folder: Path) -> None:
    """As ISO 8601 allows."""
    write_log(folder, at=["2001-09-09", "2001-09-10", "2001-09-11T00:00Z"])
    write_mapping(folder, time_unit="iso8601")
    assert load(folder).interactions["time"].diff().tolist()[1:] == [86_400, 86_400]
