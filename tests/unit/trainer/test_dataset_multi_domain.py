"""Several domains in one log: three kinds of files, sizes, shared users, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.trainer.data.datasets import DATASETS, DatasetSource, InvalidDataset, MultiDomainDataset
from services.trainer.data.datasets.domains import domain_name, overlap, remarks, sizes
from tests.several_domains import ITEMS, read_domains, write_domains

REVIEW = {"reviewerID": "A1", "asin": "B000000001", "overall": 5.0, "unixReviewTime": 1_400_000_000}
NEW_REVIEW = {"user_id": "A1", "parent_asin": "B000000009", "rating": 3.0, "timestamp": 1_500_000_000_000}


def load(*paths: Path, **options: str) -> MultiDomainDataset:
    dataset = DATASETS["multi-domain"](DatasetSource(paths, options))
    assert isinstance(dataset, MultiDomainDataset)
    return dataset


@pytest.fixture
def amazon(tmp_path: Path) -> Path:
    """Two categories, one in the form of 2018 and one in that of 2023, each with metadata."""
    files = {
        "Gift_Cards_5.json": [REVIEW, {**REVIEW, "asin": "B000000002", "reviewerID": "A2", "overall": 2.0}],
        "meta_Gift_Cards.json": [{"asin": "B000000001", "title": "A card", "brand": "Maker"}],
        "Digital_Music.jsonl": [NEW_REVIEW],
        "meta_Digital_Music.jsonl": [{"parent_asin": "B000000009", "title": "A song", "store": "Band"}],
    }
    for name, records in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, records)))
    return tmp_path


def test_amazon_categories_of_both_releases_share_one_id_space(amazon: Path) -> None:
    """Each with its own metadata; a user of both is one user; a rating above 3 is positive."""
    dataset = load(amazon)
    log = dataset.interactions
    assert dataset.domains == ["digital-music", "gift-cards"]
    assert dict(zip(log["item_id"], log["domain"], strict=True)) == {
        "B000000001": "gift-cards", "B000000002": "gift-cards", "B000000009": "digital-music"
    }  # fmt: skip
    assert dict(zip(log["item_id"], log["label"], strict=True)) == {
        "B000000001": 1, "B000000002": 0, "B000000009": 0
    }  # fmt: skip
    assert dataset.items["B000000009"].title == "A song"
    assert overlap(dataset) == {
        "digital-music": {"digital-music": 1, "gift-cards": 1},
        "gift-cards": {"digital-music": 1, "gift-cards": 2},
    }


def test_a_category_without_reviews_is_named(amazon: Path) -> None:
    """Metadata alone is not a domain."""
    (amazon / "Digital_Music.jsonl").unlink()
    with pytest.raises(InvalidDataset, match="category digital-music: --path: none of the files holds reviews"):
        load(amazon)


@pytest.mark.parametrize(
    ("name", "domain"),
    [("Gift_Cards", "gift-cards"), ("Arts, Crafts & Sewing", "arts-crafts-sewing"), ("Children's", "childrens")],
)
def test_domains_are_named_as_scenarios_are(name: str, domain: str) -> None:
    """In lower-case letters, with hyphens."""
    assert domain_name(name) == domain


def test_movielens_films_are_dealt_to_their_first_genre_and_this_is_said(tmp_path: Path) -> None:
    """Whoever reads a figure has to know that these domains are made."""
    films = ("7::A Film (1994)::Drama|War", "8::Second (1950)::War", "9::Third (1960)::Sci-Fi")
    ratings = ("1::7::5::978300760", "1::8::2::978300000", "1::8::4::978300001", "1::9::3::978300002")
    (tmp_path / "movies.dat").write_text("\n".join(films))
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    (tmp_path / "ratings.dat").write_text("\n".join(ratings))
    assert load(tmp_path).domains == ["drama", "sci-fi", "war"]
    assert "pseudo-domains" in remarks(load(tmp_path))[0]
    assert load(tmp_path, largest="2").interactions["domain"].value_counts().to_dict() == {"war": 2, "drama": 1}


def test_sizes_count_users_items_and_labels_of_each_domain(tmp_path: Path) -> None:
    """And who is in another one too, and how many items have no title."""
    dataset = read_domains(write_domains(tmp_path, ["lamps", "tools"]))
    for size in sizes(dataset):
        log = dataset.interactions[dataset.interactions["domain"] == size.domain]
        assert (size.interactions, size.users) == (len(log), log["user_id"].nunique())
        assert size.positives == pytest.approx((log["rating"] > 3).mean())
        assert (size.items, size.untitled_items) == (ITEMS, 1)
        assert size.shared_users == overlap(dataset)["lamps"]["tools"]
    assert remarks(dataset)[0].startswith("lamps: 1 of 30 items have no title; they go by what is known")


def test_an_item_without_a_title_goes_by_the_text_that_it_has(tmp_path: Path) -> None:
    """Brand and last category."""
    items = read_domains(write_domains(tmp_path, ["lamps", "tools"])).items
    assert items[f"lamps-{ITEMS - 1}"].title == "Maker, Lamp"


def test_items_of_a_configured_scenario_are_its_own(tmp_path: Path) -> None:
    """With its names of attributes; those of other domains are of the option `scenario`."""
    items = read_domains(write_domains(tmp_path, ["music", "tools"])).items
    assert (items["music-0"].scenario, items["tools-0"].scenario) == ("music", "retail")
    assert items["music-0"].attributes["artist"] == items["tools-0"].attributes["brand"] == "Maker"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("interactions.csv", "lamps,u", "nowhere,u", "row 1: item_id must be an item of its domain in items.csv"),
        ("interactions.csv", "domain,", "domains,", "there is no column 'domain'"),
        ("items.csv", "lamps-1,", "lamps-0,", "row 2: item_id must be there once in its domain"),
        ("items.csv", ",4.5,", ",cheap,", "row 1: price must be a number, is 'cheap'"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_row(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    """Before anything is stored."""
    path = write_domains(tmp_path, ["lamps", "tools"]) / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InvalidDataset, match=f"{file}.*: {words}"):
        load(tmp_path)


def test_one_domain_is_not_several(tmp_path: Path) -> None:
    """The message says which was found."""
    with pytest.raises(InvalidDataset, match="at least two domains; found lamps"):
        load(write_domains(tmp_path, ["lamps"]))


def test_a_folder_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    """The one of items."""
    (write_domains(tmp_path, ["lamps", "tools"]) / "items.csv").unlink()
    with pytest.raises(InvalidDataset, match=r"must hold items\.csv or items\.csv\.gz"):
        load(tmp_path)
