"""MovieLens-1M in GroupLens' original files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource
from services.trainer.data.datasets.dataset import InvalidDataset

FILMS = "7::Night Crossing, The (1994)::Drama|War\n8::Café Lumen (1950)::Comedy\n"
VIEWERS = "1::F::1::10::00001\n2::M::56::0::00002\n"
RATINGS = "1::7::5::978300760\n1::8::2::978300000\n2::7::3::978300760\n2::8::4::978300760\n"
FACTS = (
    "7::Night Crossing::1994::PG::01 Feb 1994::Drama, War::Ann Field, Bo Hill::"
    'Ann Field (play "One, Two"), Ann Field::Zoé Moor::Two  friends leave.::N/A\n'
    "8::Lumen::1950::UNRATED::N/A::Comedy::N/A::N/A::N/A::N/A::N/A\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, two viewers, four ratings."""
    for name, text in {"movies.dat": FILMS, "users.dat": VIEWERS, "ratings.dat": RATINGS}.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    return tmp_path


def load(folder: Path) -> Dataset:
    return DATASETS["movielens-1m"](DatasetSource((folder,)))


def test_all_ratings_are_kept_in_order_of_time(folder: Path) -> None:
    """Equal times keep the order of the file."""
    log = load(folder).interactions
    assert log[["user_id", "item_id", "rating", "time"]].to_numpy().tolist() == [
        ["1", "8", 2, 978300000], ["1", "7", 5, 978300760], ["2", "7", 3, 978300760], ["2", "8", 4, 978300760]
    ]  # fmt: skip


def test_films_and_viewers_are_told_in_words(folder: Path) -> None:
    """Articles stand in front, genres are a list, and codes are words; what is not known is left out."""
    dataset = load(folder)
    assert dataset.items["7"].title == "The Night Crossing (1994)"
    assert dataset.items["7"].attributes == {"genres": ["Drama", "War"], "year": 1994}
    assert dataset.items["8"].title == "Café Lumen (1950)"
    assert dataset.users == {
        "1": {"gender": "female", "age": "under 18", "occupation": "pupil"},
        "2": {"gender": "male", "age": "56 or more"},
    }


def test_facts_of_another_file_become_attributes(folder: Path) -> None:
    """People as lists, each once; what is not available is left out."""
    (folder / "movies_extrainfos.dat").write_text(FACTS, encoding="utf-8")
    items = load(folder).items
    assert items["7"].attributes == {
        "director": ["Ann Field", "Bo Hill"], "writers": ["Ann Field"], "cast": ["Zoé Moor"],
        "certificate": "PG", "release_date": "01 Feb 1994", "plot": "Two friends leave.",
        "genres": ["Drama", "War"], "year": 1994,
    }  # fmt: skip
    assert items["8"].attributes == {"genres": ["Comedy"], "year": 1950}


def test_a_part_of_the_ratings_may_be_compressed(folder: Path) -> None:
    """Under any name that begins so, if there is no other."""
    (folder / "ratings.dat").rename(folder / "ratings_part.dat")
    content = (folder / "ratings_part.dat").read_bytes()
    (folder / "ratings_part.dat").unlink()
    (folder / "ratings_part.dat.gz").write_bytes(gzip.compress(content))
    assert len(load(folder).interactions) == 4
    (folder / "ratings_more.dat").write_bytes(content)
    with pytest.raises(InvalidDataset, match=r"must hold ratings\.dat, or one other file ratings\*\.dat; has 2"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("ratings.dat", "1::7::5", r"ratings\.dat: row 5: must have 4 values separated by '::'"),
        ("ratings.dat", "1::7::six::978300000", r"ratings\.dat: row 5: rating must be a number, is 'six'"),
        ("ratings.dat", "1::7::6::978300000", r"ratings\.dat: row 5: rating must be 1, 2, 3, 4 or 5"),
        ("ratings.dat", "1::7::5::978300000000", r"ratings\.dat: row 5: time must lie between 1970 and now"),
        ("ratings.dat", "1::9::5::978300000", r"ratings\.dat: row 5: item_id must be an item of the catalogue"),
        ("ratings.dat", "3::7::5::978300000", r"ratings\.dat: row 5: user_id must be one of the users"),
        ("users.dat", "3::X::1::1::00003", r"users\.dat: row 3: gender must be one of F, M"),
        ("users.dat", "3::F::19::1::00003", r"users\.dat: row 3: age must be one of 1, 18"),
        ("users.dat", "3::F::18::21::00003", r"users\.dat: row 3: occupation must be one of 0, 1"),
        ("users.dat", "1::F::18::2::00003", r"users\.dat: row 3: user_id must be there once"),
        ("movies.dat", "7::Again (1994)::War", r"movies\.dat: row 3: item_id must be there once"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, name: str, line: str, words: str) -> None:
    """By file and row, with what was expected."""
    path = folder / name
    path.write_text(path.read_text(encoding="latin-1") + line + "\n", encoding="latin-1")
    with pytest.raises(InvalidDataset, match=words):
        load(folder)


@pytest.mark.parametrize(("name", "words"), [("ratings.dat", "has 0 of them"), ("users.dat", "cannot be read")])
def test_a_missing_file_is_named(folder: Path, name: str, words: str) -> None:
    """As what the folder must hold."""
    (folder / name).unlink()
    with pytest.raises(InvalidDataset, match=words):
        load(folder)
