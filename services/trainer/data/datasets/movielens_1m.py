"""MovieLens-1M: 1,000,209 ratings of 3,883 films by 6,040 viewers, 2000 to 2003 (GroupLens), from the user's folder.

The folder holds GroupLens' files, which their terms do not allow to pass on: `ratings.dat` (or one other file
`ratings*.dat`, also .gz, with a part of its lines), `movies.dat`, `users.dat`. A file `movies_extrainfos.dat` beside
them, with id, title, year, certificate, release date, genres, director, writers, cast and plot, adds facts. A file is
read as UTF-8 where all of it is that, else as the Latin-1 in which GroupLens publishes them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from loreline.domain import AttributeValue, Item
from services.trainer.data.datasets.dataset import (
    NARROWING,
    Dataset,
    DatasetSource,
    InvalidDataset,
    check_interactions,
    check_items,
    refuse_rows,
)
from services.trainer.data.datasets.movielens_100k import SCENARIO, readable_title
from services.trainer.data.datasets.tables import ids_of, numbers_of, seconds_of
from services.trainer.data.datasets.texts import UTF_8, fitted, is_utf_8, lines_of, one_line

AGES = {1: "under 18", 18: "18 to 24", 25: "25 to 34", 35: "35 to 44", 45: "45 to 49", 50: "50 to 55", 56: "56 or more"}
OCCUPATIONS = (
    None, "academic or educator", "artist", "clerk or administrator", "student at college", "customer service",
    "doctor or health care", "manager", "farmer", "homemaker", "pupil", "lawyer", "programmer", "retired",
    "sales and marketing", "scientist", "self-employed", "technician or engineer", "tradesperson", "unemployed",
    "writer",
)  # fmt: skip
FACTS = ("certificate", "release_date", "more_genres", "director", "writers", "cast", "plot")
UNKNOWN = ("", "N/A", "UNRATED")
NOTE = re.compile(r"\s*\([^)]*\)")  # a writer's share in the work: "(screenplay)"


def load(source: DatasetSource) -> Dataset:
    """The dataset of the source's one folder. Raises InvalidDataset naming file, row and what was expected."""
    source.check_options(NARROWING)
    folder = source.folder()
    (items, remarks), users, path = _films(folder), _viewers(folder / "users.dat"), _ratings_file(folder)
    log = check_interactions(_ratings(path), items, users, path)
    return source.narrowed(Dataset("movielens-1m", SCENARIO, items, users, log, remarks))


def _films(folder: Path) -> tuple[dict[str, Item], tuple[str, ...]]:
    path, facts = folder / "movies.dat", _facts(folder / "movies_extrainfos.dat")
    films = _read(path, ["item_id", "title", "genres"])
    ids = ids_of(films, path, "item_id", unique=True)
    titles = dict(zip(ids, map(readable_title, films["title"].map(one_line)), strict=True))
    genres = dict(zip(ids, films["genres"].map(_parts), strict=True))
    known = {i: {"genres": genres[i], "year": year, **facts.get(i, {})} for i, (_, year) in titles.items()}
    attributes, remarks = fitted(known, "items")
    items = {i: Item(i, SCENARIO, title, attributes[i]) for i, (title, _) in titles.items()}
    check_items(items, path)
    return items, remarks


def _viewers(path: Path) -> dict[str, dict[str, AttributeValue]]:
    viewers = _read(path, ["user_id", "gender", "age", "occupation", "postcode"])
    ids = ids_of(viewers, path, "user_id", unique=True)
    for column, codes in {"gender": "FM", "age": AGES, "occupation": range(len(OCCUPATIONS))}.items():
        known = [str(code) for code in codes]
        refuse_rows(~viewers[column].isin(known), f"{column} must be one of {', '.join(known)}", path)
    rows = zip(ids, viewers["gender"], viewers["age"], viewers["occupation"], strict=True)
    return {user_id: _viewer(*known) for user_id, *known in rows}


def _ratings(path: Path) -> pd.DataFrame:
    ratings = _read(path, ["user_id", "item_id", "rating", "time"])
    numbers = numbers_of(ratings, path, "rating")
    refuse_rows(~numbers.isin(range(1, 6)), "rating must be 1, 2, 3, 4 or 5", path)
    return ratings.assign(rating=numbers, time=seconds_of(ratings, path, "time", "s"))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """The `::`-separated columns of a file, as text."""
    lines = pd.Series([line for _, line in lines_of(path, UTF_8 if is_utf_8(path) else "latin-1")], dtype=str)
    if lines.empty:
        raise InvalidDataset(f"{path}: is empty")
    parts = lines.str.split("::", expand=True)
    wrong = lines.str.count("::") != len(columns) - 1
    refuse_rows(wrong, f"must have {len(columns)} values separated by '::' ({', '.join(columns)})", path)
    return parts.set_axis(columns, axis=1)


def _ratings_file(folder: Path) -> Path:
    found = [folder / "ratings.dat"] if (folder / "ratings.dat").exists() else sorted(folder.glob("ratings*.dat*"))
    if len(found) != 1:
        raise InvalidDataset(
            f"{folder}: must hold ratings.dat, or one other file ratings*.dat; has {len(found)} of them"
        )
    return found[0]


def _facts(path: Path) -> dict[str, dict[str, AttributeValue]]:
    if not path.exists():
        return {}
    table = _read(path, ["item_id", "title", "year", *FACTS, "link"])
    rows = table[["item_id", "certificate", "release_date", "plot", "director", "writers", "cast"]].to_numpy().tolist()
    return {item_id: _known(texts, people) for item_id, *texts, people in ((*r[:4], r[4:]) for r in rows)}


def _known(texts: list[str], people: list[str]) -> dict[str, AttributeValue]:
    certificate, release_date, plot = (" ".join(text.split()) for text in texts)
    director, writers, cast = (_names(names) for names in people)
    known: dict[str, AttributeValue] = {"director": director, "writers": writers, "cast": cast}
    known |= {"certificate": certificate, "release_date": release_date, "plot": plot}
    return {name: value for name, value in known.items() if value and value not in UNKNOWN}


def _names(text: str) -> list[str]:
    without_notes = NOTE.sub("", text)  # first: a note may hold commas
    return list(dict.fromkeys(name for part in without_notes.split(",") if (name := part.strip()) not in UNKNOWN))


def _parts(genres: str) -> list[str] | None:
    return [genre.strip() for genre in genres.split("|") if genre.strip()] or None


def _viewer(gender: str, age: str, occupation: str) -> dict[str, AttributeValue]:
    known: dict[str, AttributeValue] = {
        "gender": {"M": "male", "F": "female"}.get(gender),
        "age": AGES.get(int(age)),
        "occupation": OCCUPATIONS[int(occupation)],
    }
    return {name: value for name, value in known.items() if value}
