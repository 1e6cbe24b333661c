"""A small catalogue whose labels follow what an item is about, and its feature store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from loreline.domain import Item
from services.trainer.data.datasets import Dataset, check_interactions
from services.trainer.data.knowledge_rows import KnowledgeRow
from services.trainer.data.offline_store import load_catalogue, load_knowledge, preference_histories
from tests.knowledge_samples import sample_knowledge

USERS, ITEMS, WIDTH = 40, 300, 16
GENRES = ("Action", "Comedy", "Drama", "Horror")
START = 880_000_000


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small train slower on two, and far slower where the cores have other work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """40 users with 60 ratings each of 300 films. A user likes the films whose hidden topic is the user's own.

    Topics are not among the attributes: only knowledge can tell them of a film that training has not seen.
    """
    random = np.random.default_rng(3)
    items = {f"i{n}": Item(f"i{n}", "movies", f"Film {n} (1990)", _attributes(n)) for n in range(ITEMS)}
    rows = []
    for user in range(USERS):
        for number, item in enumerate(random.choice(ITEMS, 60, replace=False)):
            likes = topic_of(f"i{item}") == user % 2
            rating = random.choice([4, 5]) if likes else random.choice([1, 2, 3])
            rows.append((f"u{user}", f"i{item}", float(rating), START + 97 * (number // 2) + user))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "time"])
    users = {f"u{user}": {"age": 30.0} for user in range(USERS)}
    return Dataset("hidden-topics", "movies", items, users, check_interactions(log, items))


@pytest.fixture(scope="session")
def feature_directory(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset in Feast, with knowledge whose vectors tell the topics."""
    directory = tmp_path_factory.mktemp("features")
    load_catalogue(dataset, directory)
    users = [history.user_id for history, _ in preference_histories(dataset)]
    load_knowledge(
        dataset,
        [knowledge_row(item_id, topic_of(item_id)) for item_id in dataset.items],
        [knowledge_row(user_id, int(user_id[1:]) % 2) for user_id in users],
        directory,
    )
    return directory


def topic_of(item_id: str) -> int:
    """The hidden topic of a film, 0 or 1."""
    return int(np.random.default_rng(int(item_id[1:])).integers(2))


def knowledge_row(subject_id: str, topic: int) -> KnowledgeRow:
    """Knowledge whose vector points the way of the topic, with some noise of its own."""
    noise = np.random.default_rng(len(subject_id)).normal(0, 0.1, WIDTH)
    vector = (np.eye(WIDTH)[topic] + noise).astype(np.float32)
    return KnowledgeRow(subject_id, sample_knowledge(f"About topic {topic}.", f"topic-{topic}"), "test-encoder", vector)


def _attributes(number: int) -> dict[str, object]:
    return {"genres": [GENRES[number % 4]], "year": 1990.0}
