"""Datasets, what they refuse, and what is held out of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from loreline.domain import Item
from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource, check_interactions
from services.trainer.data.datasets.dataset import InvalidDataset, newest_items
from services.trainer.data.datasets.movielens_100k import readable_title

ITEMS = {name: Item(name, "movies", name) for name in ("a", "b")}


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story (1995)", 1995),
        ("Net, The (1995)", "The Net (1995)", 1995),
        ("American in Paris, An (1951)", "An American in Paris (1951)", 1951),
        ("Enfer, L' (1994)", "L'Enfer (1994)", 1994),
        ("Hoop Dreams", "Hoop Dreams", None),
        ("unknown", "unknown", None),
    ],
)
def test_titles_read_as_people_write_them(raw: str, title: str, year: int | None) -> None:
    """The article stands in front, and the year is known by itself."""
    assert readable_title(raw) == (title, year)


def test_movielens_is_whole_and_in_order_of_time() -> None:
    """100,000 ratings of 1,682 films by 943 viewers, as published."""
    dataset = DATASETS["movielens-100k"](DatasetSource())
    log = dataset.interactions
    assert (len(log), len(dataset.items), len(dataset.users)) == (100_000, 1682, 943)
    assert log["time"].is_monotonic_increasing
    assert log["rating"].between(1, 5).all()
    assert dataset.items["1"].attributes == {"genres": ["Animation", "Children's", "Comedy"], "year": 1995}
    assert dataset.users["1"] == {"age": 24.0, "gender": "male", "occupation": "technician"}


def test_movielens_is_narrowed_to_so_many_users_and_the_items_they_act_on_most() -> None:
    """The same each time; nothing of anybody else is left."""
    narrowed = DATASETS["movielens-100k"](DatasetSource(options={"users": "150", "items": "300"}))
    whole = DATASETS["movielens-100k"](DatasetSource(options={"users": "150"}))
    assert (len(narrowed.users), len(narrowed.items), len(whole.users)) == (150, 300, 150)
    assert set(narrowed.interactions["user_id"]) == set(narrowed.users) == set(whole.users)
    assert set(narrowed.interactions["item_id"]) == set(narrowed.items)
    counts = whole.interactions["item_id"].value_counts()
    assert counts[list(narrowed.items)].min() >= counts.drop(list(narrowed.items)).max()
    assert narrowed.interactions["time"].is_monotonic_increasing


@pytest.mark.parametrize(("name", "value"), [("users", "few"), ("items", "-3"), ("films", "10")])
def test_an_option_that_narrows_by_no_number_is_refused(name: str, value: str) -> None:
    """The message names it."""
    with pytest.raises(InvalidDataset, match=f"--option: .*{name}"):
        DATASETS["movielens-100k"](DatasetSource(options={name: value}))


def test_the_newest_items_are_those_whose_first_interaction_came_last(dataset: Dataset) -> None:
    """Nothing of them is left in what remains."""
    held_out = newest_items(dataset, 7)
    kept = dataset.without_items({item.item_id for item in held_out})
    first = dataset.interactions.groupby("item_id")["time"].min()
    assert first[[item.item_id for item in held_out]].min() >= first[list(set(kept.interactions["item_id"]))].max()
    assert len(kept.items) == len(dataset.items) - 7
    assert not kept.interactions["item_id"].isin([item.item_id for item in held_out]).any()


def test_holding_out_everything_is_refused(dataset: Dataset) -> None:
    """Nothing would be left to train on."""
    with pytest.raises(ValueError, match="must hold out 0 to"):
        newest_items(dataset, 10_000)


def test_the_content_hash_changes_with_one_rating(dataset: Dataset) -> None:
    """And is the same for the same content."""
    changed = dataset.interactions.copy()
    changed.loc[0, "rating"] = 1.0 if changed.loc[0, "rating"] > 1 else 2.0
    other = Dataset(dataset.name, dataset.scenario, dataset.items, dataset.users, changed)
    assert dataset.content_hash() == dataset.without_items(set()).content_hash()
    assert dataset.content_hash() != other.content_hash()


class TestCheckInteractions:
    """Bad tables are named by column and row."""

    def table(self, **columns: object) -> pd.DataFrame:
        good = {"user_id": ["u", "u"], "item_id": ["a", "b"], "rating": [1.0, 5.0], "time": [2, 1]}
        return pd.DataFrame({**good, **columns})

    def test_rows_come_sorted_by_time(self) -> None:
        """Whatever the file's order."""
        assert check_interactions(self.table(), ITEMS)["time"].tolist() == [1, 2]

    def test_equal_times_keep_the_order_of_the_file(self) -> None:
        """Ties have no other order."""
        assert check_interactions(self.table(time=[1, 1]), ITEMS)["item_id"].tolist() == ["a", "b"]

    def test_a_missing_column_is_named(self) -> None:
        """With all that there must be."""
        with pytest.raises(InvalidDataset, match="column 'rating' is missing"):
            check_interactions(self.table().drop(columns="rating"), ITEMS)

    def test_a_missing_value_is_named_by_row(self) -> None:
        """Rows are counted from 1."""
        with pytest.raises(InvalidDataset, match="row 2: rating must have a value"):
            check_interactions(self.table(rating=[1.0, None]), ITEMS)

    def test_an_item_outside_of_the_catalogue_is_named_by_row(self) -> None:
        """Its features would be missing."""
        with pytest.raises(InvalidDataset, match="row 1: item_id must be an item of the catalogue"):
            check_interactions(self.table(item_id=["z", "a"]), ITEMS)


def test_a_dataset_that_is_fetched_takes_no_files(tmp_path: Path) -> None:
    """Or its user would think that they were read."""
    with pytest.raises(InvalidDataset, match="it takes no files"):
        DATASETS["movielens-100k"](DatasetSource((tmp_path,)))
