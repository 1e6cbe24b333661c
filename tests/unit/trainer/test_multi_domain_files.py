"""Files of several domains as users have them: compressed, of mixed releases, with items that are shared, or wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from services.trainer.data.datasets import DATASETS, DatasetSource, InvalidDataset, MultiDomainDataset
from services.trainer.data.datasets.domains import DomainSize, overlap, remarks, sizes

ITEMS = [
    "domain,item_id,title,brand,price,category,description",
    "Gift Cards,1,A card,Maker,10,Gifts > Cards,Text",
    "Gift Cards,2,,Maker,,,",
    "Gift Cards,3,Never bought,,,,",
    "Magazines,1,A monthly,,,,",
    "Magazines,4,,,,,",
]
LOG = [
    "domain,user_id,item_id,rating,timestamp",
    "Gift Cards,a,1,5,10",
    "Magazines,a,1,4,20",
    "Gift Cards,b,2,3,30",
    "Magazines,c,4,3.5,40",
    "Magazines,c,1,2,50",
]
OLD = {"reviewerID": "A1", "asin": "B000000001", "overall": 4.0, "unixReviewTime": 1_400_000_000}
NEW = {"user_id": "A1", "parent_asin": "B000000002", "rating": 3.0, "timestamp": 1_500_000_000_999}
FILMS = "1::One (1990)::Drama|War\n2::Two (1991)::War|Drama\n3::Three (1992)::\n"
VIEWERS = "1::F::1::10::00001\n2::M::56::0::00002\n"
RATINGS = "1::1::5::978300001\n1::2::3::978300002\n2::2::4::978300003\n2::3::1::978300004\n"


def load(*paths: Path, **options: str) -> MultiDomainDataset:
    dataset = DATASETS["multi-domain"](DatasetSource(paths, options))
    assert isinstance(dataset, MultiDomainDataset)
    return dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains, one of whose ids names a thing in each, in compressed tables."""
    for name, lines in {"interactions": LOG, "items": ITEMS}.items():
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return tmp_path


@pytest.fixture
def categories(tmp_path: Path) -> Path:
    """One category of 2018, and one of 2023 whose metadata does not know its item."""
    files = {"Gift_Cards_5.json": [OLD], "Magazine_Subscriptions.jsonl": [NEW]}
    files |= {"meta_Gift_Cards.json": [{"asin": "B000000001", "title": "A card"}]}
    files |= {"meta_Magazine_Subscriptions.jsonl": [{"parent_asin": "B000000009", "title": "Another"}]}
    for name, records in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, records)))
    return tmp_path


def change(path: Path, row: int, old: str, new: str) -> None:
    """Replace text in a row, counted from 1 behind the header."""
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new, 1)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def test_a_compressed_folder_gives_sizes_that_can_be_counted_by_hand(folder: Path) -> None:
    """Items without an interaction are no part of a domain, and 3 stars are not positive where 3.5 are."""
    gifts, magazines = sizes(load(folder))
    assert gifts == DomainSize("gift-cards", 2, 1, 2, 1, 2, 0.5)
    assert magazines == DomainSize("magazines", 2, 1, 2, 1, 3, pytest.approx(2 / 3))
    assert overlap(load(folder))["gift-cards"] == {"gift-cards": 2, "magazines": 1}


def test_an_item_of_two_domains_is_one_item(folder: Path) -> None:
    """It is described by the first domain, and its interactions stay with the domain that they are of."""
    dataset = load(folder)
    assert dataset.items["1"].title == "A card"
    log = dataset.interactions[dataset.interactions["item_id"] == "1"]
    assert log["domain"].tolist() == ["gift-cards", "magazines", "magazines"]
    assert list(dataset.users) == ["a", "b", "c"]


def test_the_log_is_in_order_of_time_over_all_domains(folder: Path) -> None:
    """So that what a user did elsewhere stands before what came later."""
    log = load(folder).interactions
    assert log["time"].tolist() == [10, 20, 30, 40, 50]
    assert log["domain"].tolist() == ["gift-cards", "magazines", "gift-cards", "magazines", "magazines"]


def test_each_domain_without_titles_is_told(folder: Path) -> None:
    """With how many items, and what stands in for a title."""
    assert [remark.split(" have")[0] for remark in remarks(load(folder))] == [
        "gift-cards: 1 of 2 items",
        "magazines: 1 of 2 items",
    ]
    assert load(folder).items["2"].title == "Maker"
    assert load(folder).items["4"].title == "Item 4"


def test_only_so_many_of_the_largest_domains_are_kept(folder: Path) -> None:
    """More than there are keeps all; of one alone there is nothing to compare."""
    assert load(folder, largest="9").domains == ["gift-cards", "magazines"]
    with pytest.raises(InvalidDataset, match="at least two domains; found magazines"):
        load(folder, largest="1")


@pytest.mark.parametrize(
    ("file", "row", "old", "new", "words"),
    [
        ("interactions", 4, "3.5", "6", r"row 4: rating must be from 1 to 5 \(1 rows break this\)"),
        ("interactions", 3, ",3,", ",,", "row 3: rating must be from 1 to 5"),
        ("interactions", 2, ",4,", ",four,", "row 2: rating must be a number, is 'four'"),
        ("interactions", 5, "50", "", "row 5: timestamp must have a value"),
        ("interactions", 5, "50", "50000000000000", "row 5: timestamp must lie between 1970 and now"),
        ("interactions", 3, ",b,", ",,", "row 3: user_id must have a value"),
        ("interactions", 4, "Magazines", "", "row 4: domain must have a value"),
        ("interactions", 4, "Magazines", "Gift Cards", "row 4: item_id must be an item of its domain in items.csv.gz"),
        ("items", 5, ",4,", ",,", "row 5: item_id must have a value"),
        ("items", 0, "brand", "maker", "there is no column 'brand'; there are domain, item_id, title, maker"),
    ],
)
def test_what_is_wrong_is_named_by_file_row_and_column(
    folder: Path, file: str, row: int, old: str, new: str, words: str
) -> None:
    """In the file's own count of rows, not in that of its domain."""
    change(folder / f"{file}.csv.gz", row, old, new)
    with pytest.raises(InvalidDataset, match=rf"{file}\.csv\.gz: {words}"):
        load(folder)


def test_a_category_goes_by_ids_where_metadata_lacks_its_items(categories: Path) -> None:
    """And this is said; milliseconds of 2023 and seconds of 2018 are one time."""
    dataset = load(categories)
    assert dataset.interactions["time"].tolist() == [1_400_000_000, 1_500_000_000]
    assert dataset.items["B000000002"].title == "Item B000000002"
    assert [remark.split(" have")[0] for remark in remarks(dataset)] == ["magazine-subscriptions: 1 of 1 items"]


def test_a_wrong_review_is_named_by_category_file_and_row(categories: Path) -> None:
    """There may be dozens of files."""
    (categories / "Gift_Cards_5.json").write_text("\n".join(map(json.dumps, [OLD, {**OLD, "overall": "good"}])))
    words = r"category gift-cards: .*Gift_Cards_5\.json: row 2: overall must be a number, is 'good'"
    with pytest.raises(InvalidDataset, match=words):
        load(categories)


def test_a_file_must_be_named_after_its_category(categories: Path) -> None:
    """Else its domain would have no name."""
    (categories / "Gift_Cards_5.json").rename(categories / "_5.json")
    with pytest.raises(InvalidDataset, match=r"_5\.json: must be named after its category"):
        load(categories)


def test_what_is_no_data_is_passed_over_and_told(categories: Path) -> None:
    """As of a single category."""
    (categories / "README").write_text("Reviews, by category")
    assert load(categories).remarks == ("README was passed over: it is empty, or neither JSON nor CSV",)


@pytest.mark.parametrize("name", ["Gift_Cards_5.json", "Gift_Cards.txt"])
def test_a_file_that_was_named_is_not_passed_over(categories: Path, name: str) -> None:
    """Somebody thinks that it is data."""
    (categories / name).write_text("")
    with pytest.raises(InvalidDataset, match=rf"{name}: row 1: must be JSON, or user, item, rating and time"):
        DATASETS["multi-domain"](DatasetSource((categories / "Magazine_Subscriptions.jsonl", categories / name)))


def test_an_option_that_is_not_there_is_refused(categories: Path) -> None:
    """With those that are."""
    with pytest.raises(InvalidDataset, match="--option: must be one of scenario, user_core, item_core, largest"):
        load(categories, core="2")
    with pytest.raises(InvalidDataset, match="largest must be a whole number, is 'two'"):
        load(categories, largest="two")


def test_nothing_given_says_what_can_be(tmp_path: Path) -> None:
    """A path that is not there is named."""
    with pytest.raises(InvalidDataset, match="--path: must be a folder of interactions"):
        load()
    with pytest.raises(InvalidDataset, match=r"--path: there is no .*missing"):
        load(tmp_path / "missing")


def test_movielens_domains_share_their_viewers_and_say_so(tmp_path: Path) -> None:
    """A film without a genre is of the domain other; 3 stars are not positive."""
    for name, text in {"movies.dat": FILMS, "users.dat": VIEWERS, "ratings.dat": RATINGS}.items():
        (tmp_path / name).write_text(text)
    dataset = load(tmp_path)
    found = {size.domain: size for size in sizes(dataset)}
    assert list(found) == ["drama", "other", "war"]
    assert (found["war"].users, found["war"].shared_users, found["war"].positives) == (2, 2, 0.5)
    assert "share their users" in remarks(dataset)[0]
    assert dataset.users["1"]["gender"] == "female"
