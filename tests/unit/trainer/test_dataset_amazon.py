"""Amazon's reviews in the notations of their three releases."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource
from services.trainer.data.datasets.dataset import InvalidDataset

OLD = [
    {"reviewerID": f"A{user:013d}", "asin": f"B{item:09d}", "overall": stars, "unixReviewTime": 1_400_000_000 + at}
    for user, item, stars, at in ((1, 1, 5.0, 20), (1, 2, 3.0, 10), (2, 1, 4.0, 30), (3, 3, 1.0, 5))
]
NEW = [
    {
        "user_id": review["reviewerID"],
        "parent_asin": review["asin"],
        "rating": review["overall"],
        "timestamp": review["unixReviewTime"] * 1000 + 7,
    }
    for review in OLD
]
LOG = [("B000000003", 1.0), ("B000000002", 3.0), ("B000000001", 5.0), ("B000000001", 4.0)]


def json_lines(rows: list[dict[str, object]]) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def load(*paths: Path, **options: str) -> Dataset:
    return DATASETS["amazon"](DatasetSource(paths, options))


def log_of(dataset: Dataset) -> list[tuple[str, float]]:
    return list(zip(dataset.interactions["item_id"], dataset.interactions["rating"], strict=True))


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Four reviews as of 2014 and 2018."""
    path = tmp_path / "reviews.json"
    path.write_text(json_lines(OLD))
    return path


@pytest.mark.parametrize("release", ["2014 zip", "2018 gz", "2023", "2023 csv", "2018 csv", "2014 csv"])
def test_every_release_gives_the_same_log(tmp_path: Path, release: str) -> None:
    """In order of time, seconds or milliseconds, with a header or without one, the columns in either order."""
    rows = [[review[name] for name in ("reviewerID", "asin", "overall", "unixReviewTime")] for review in OLD]
    if release == "2014 zip":
        path = tmp_path / "reviews.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("reviews.json", json_lines(OLD))
    elif release == "2018 gz":
        path = tmp_path / "reviews.json.gz"
        path.write_bytes(gzip.compress(json_lines(OLD).encode()))
    elif release == "2023":
        path = tmp_path / "reviews.jsonl"
        path.write_text(json_lines(NEW))
    elif release == "2023 csv":
        path = tmp_path / "reviews.csv"
        lines = [",".join(map(str, review.values())) for review in NEW]
        path.write_text("\n".join([",".join(NEW[0]), *lines]))
    else:
        path = tmp_path / "ratings.csv"
        order = (1, 0, 2, 3) if release == "2018 csv" else (0, 1, 2, 3)
        path.write_text("\n".join(",".join(str(row[place]) for place in order) for row in rows))
    dataset = load(path)
    assert log_of(dataset) == LOG
    assert dataset.interactions["time"].tolist() == [1_400_000_005, 1_400_000_010, 1_400_000_020, 1_400_000_030]
    assert dataset.scenario == "retail"


@pytest.mark.parametrize("release", ["2014", "2018", "2023"])
def test_metadata_of_every_release_tells_the_same(tmp_path: Path, reviews: Path, release: str) -> None:
    """Entities and tags are text, prices numbers, and the level that all items share is left out."""
    levels, price, text = ["Toys", "Games", "Chess"], 1299.5, ["A <b>board</b>", "and pieces"]
    record: dict[str, object] = {"asin": "B000000001", "title": "Chess &amp; Co", "brand": "Maker"}
    if release == "2014":
        line = repr({**record, "categories": [levels], "price": price, "description": " ".join(text)})
    elif release == "2018":
        line = json.dumps({**record, "category": levels, "price": "$1,299.50", "description": text})
    else:
        new = {"parent_asin": "B000000001", "title": "Chess &amp; Co", "store": "Maker", "categories": levels}
        line = json.dumps({**new, "price": price, "description": text})
    (tmp_path / "meta.json").write_text(line)
    item = load(reviews, tmp_path / "meta.json").items["B000000001"]
    assert item.title == "Chess & Co"
    assert item.attributes == {
        "brand": "Maker", "categories": ["Games", "Chess"], "price": 1299.5, "description": "A board and pieces"
    }  # fmt: skip


def test_an_item_without_a_title_is_called_by_what_is_known(tmp_path: Path, reviews: Path) -> None:
    """Brand and category; or its id, where nothing is."""
    (tmp_path / "meta.json").write_text(
        json_lines([{"asin": "B000000001", "brand": "Maker", "category": ["Toys", "Chess"]}])
    )
    items = load(reviews, tmp_path / "meta.json").items
    assert items["B000000001"].title == "Maker, Chess"
    assert items["B000000002"].title == "Item B000000002"


@pytest.mark.parametrize(
    ("record", "title"),
    [
        ({"title": "<script>var x = new Date().getTime();</script>", "brand": "Maker"}, "Maker"),
        ({"title": "Chess " * 40}, ("Chess " * 40)[:149].rstrip() + "…"),
        ({"title": "", "description": ["A <b>board</b>", "of oak."]}, "A board of oak."),
    ],
)
def test_a_title_is_one_line_of_at_most_150_characters(
    tmp_path: Path, reviews: Path, record: dict[str, object], title: str
) -> None:
    """A script that the crawl took for a title is none."""
    (tmp_path / "meta.json").write_text(json_lines([{"asin": "B000000001", **record}]))
    assert load(reviews, tmp_path / "meta.json").items["B000000001"].title == title


@pytest.mark.parametrize(
    "record",
    [
        {"brand": "Visit Amazon's Ann Field Page"},
        {"brand": "by\n    \n    Ann Field"},
        {"store": "Ann Field (Author)"},
        {"store": "Some shop", "author": {"name": "Ann Field", "about": []}},
    ],
)
def test_an_author_is_found_in_every_notation(tmp_path: Path, reviews: Path, record: dict[str, object]) -> None:
    """Without the words of the page around the name."""
    (tmp_path / "meta.json").write_text(json_lines([{"asin": "B000000001", "title": "A", **record}]))
    items = load(reviews, tmp_path / "meta.json", scenario="books").items
    assert items["B000000001"].attributes["author"] == "Ann Field"


def test_a_review_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    """By user, item and time: the first rating stands."""
    (tmp_path / "reviews.json").write_text(json_lines([*OLD, {**OLD[0], "overall": 1.0}]))
    assert log_of(load(tmp_path)) == LOG


def test_metadata_of_other_items_is_passed_over(tmp_path: Path, reviews: Path) -> None:
    """Most of a category's lines are: not even a broken one stops the import."""
    lines = ['{"asin": "B999999999", "title": ', json.dumps({"asin": "B000000001", "title": "A"})]
    (tmp_path / "meta.json").write_text("\n".join(lines[::-1]))
    assert set(load(reviews, tmp_path / "meta.json").items) == {f"B{n:09d}" for n in (1, 2, 3)}


def test_an_archive_must_hold_one_file(tmp_path: Path) -> None:
    """Nobody could say which one was meant."""
    with zipfile.ZipFile(tmp_path / "reviews.zip", "w") as archive:
        for name in ("a.json", "b.json"):
            archive.writestr(name, json_lines(OLD))
    with pytest.raises(InvalidDataset, match=r"reviews\.zip: must hold one file, holds 2"):
        load(tmp_path)


def test_in_another_scenario_a_brand_has_another_name(tmp_path: Path, reviews: Path) -> None:
    """Of a book it is the author."""
    (tmp_path / "meta.json").write_text(json_lines([{"asin": "B000000001", "title": "A", "brand": "By Someone"}]))
    dataset = load(reviews, tmp_path / "meta.json", scenario="books")
    assert dataset.items["B000000001"].attributes == {"author": "By Someone"}
    assert dataset.items["B000000001"].scenario == dataset.scenario == "books"


def test_a_core_is_taken_until_all_that_are_left_have_it(tmp_path: Path) -> None:
    """Dropping an item can drop a user, and the other way round; a review that is there twice counts once."""
    chain = [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("3", "2"), ("3", "3"), ("3", "3")]
    rows = [{**OLD[0], "reviewerID": user, "asin": item} for user, item in chain]
    path = tmp_path / "reviews.json"
    path.write_text(json_lines(rows))
    kept = load(path, user_core="2", item_core="2").interactions
    assert sorted(zip(kept["user_id"], kept["item_id"], strict=True)) == [
        ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("{", {}, r"reviews\.json: row 1: must be a JSON object"),
        (json_lines(OLD) + "[1]\n", {}, r"reviews\.json: row 5: must be a JSON object"),
        (json_lines([{**OLD[0], "overall": "good"}]), {}, "row 1: overall must be a number, is 'good'"),
        (json_lines([{**OLD[0], "unixReviewTime": 10**12}]), {}, "row 1: unixReviewTime must lie between 1970 and now"),
        ("a,b\n", {}, "must be JSON, or user, item, rating and time"),
        ("A1,A2,5.0,1400000000\n", {}, "separated by commas, one an ASIN or ISBN"),
        (
            "user_id,parent_asin,rating,timestamp\n1,2,3,4,5\n",
            {},
            "row 1: must have 4 values, has 5",
        ),
        (json_lines([{**OLD[0], "asin": None}]), {}, "row 1: asin must have a value"),
        (json_lines([{**OLD[0], "overall": float("inf")}]), {}, "row 1: overall must be from 1 to 5"),
        (json_lines(OLD), {"scenario": "nowhere"}, "scenario: must be one of: .*; is 'nowhere'"),
        (json_lines(OLD), {"item_core": "9"}, "no reviews are left with user_core=0 and item_core=9"),
        (json_lines(OLD), {"item_core": "many"}, "item_core must be a whole number, is 'many'"),
        (json_lines(OLD), {"core": "2"}, "--option: must be one of scenario, user_core, item_core, is 'core'"),
        (json_lines([{"asin": "B000000001", "title": "A"}]), {}, "none of the files holds reviews"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, options: dict[str, str], words: str) -> None:
    """By file and row, or by option."""
    (tmp_path / "reviews.json").write_text(content)
    with pytest.raises(InvalidDataset, match=words):
        load(tmp_path / "reviews.json", **options)


def test_a_second_file_of_reviews_is_refused(tmp_path: Path, reviews: Path) -> None:
    """A folder is read whole, and two logs would be a mistake."""
    (tmp_path / "more.json").write_text(json_lines(OLD))
    with pytest.raises(InvalidDataset, match=r"holds reviews, and so does .*: give one file"):
        load(tmp_path)
    assert reviews.exists()
