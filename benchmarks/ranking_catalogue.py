"""Made-up items and users, the same in Loreline's store and in that of the plain path, and requests for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.model_version import GENRES, KNOWLEDGE_WIDTH
from loreline.client import FeaturesClient
from loreline.domain import Item, Knowledge, KnowledgeVectors, Provenance, Stamp
from loreline.ranking.v1 import ranking_pb2
from services.model_registry import Vocabulary
from services.scenarios import load_scenario

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USERS, HISTORY, REQUESTS, PAGE = 64, 50, 64, 500
RATINGS = [float(1 + place % 5) for place in range(HISTORY)]


@dataclass(frozen=True)
class Catalogue:
    """`items` items i0, i1, ... with augmented vectors (items, A), and users u0, u1, ... with (USERS, A)."""

    items: int
    item_vectors: npt.NDArray[np.float32]
    user_vectors: npt.NDArray[np.float32]
    histories: npt.NDArray[np.int64]  # (USERS, HISTORY) numbers of items, oldest first

    @classmethod
    def random(cls, items: int, width: int) -> Catalogue:
        """A catalogue that is the same every time."""
        random = np.random.default_rng(1)
        vectors = (random.normal(size=(count, width)).astype(np.float32) for count in (items, USERS))
        return cls(items, *vectors, random.integers(0, items, (USERS, HISTORY)))

    def item(self, number: int) -> Item:
        """The content of one item."""
        attributes = {"genres": [GENRES[number % len(GENRES)]], "year": 1980.0 + number % 20}
        return Item(f"i{number}", "movies", f"Film {number}", attributes)

    def history(self, user: int) -> list[str]:
        """Ids of a user's history, oldest first."""
        return [f"i{number}" for number in self.histories[user]]


def fill(address: str, catalogue: Catalogue) -> None:
    """Store everything through the features service."""
    with FeaturesClient(address, timeout_seconds=60) as features:
        for start in range(0, catalogue.items, PAGE):
            page = range(start, min(start + PAGE, catalogue.items))
            stamps = [Stamp(f"e{number}", NOW) for number in page]
            features.put_contents([(stamp, catalogue.item(n)) for stamp, n in zip(stamps, page, strict=True)])
            vectors = [_knowledge(catalogue.item_vectors[number]) for number in page]
            features.put_knowledge(list(zip(stamps, [f"i{n}" for n in page], vectors, strict=True)))
        for user in range(USERS):
            past, times = catalogue.history(user), list(range(HISTORY))
            features.put_user_history(f"u{user}", Stamp("h", NOW), past, RATINGS, times)
            features.put_user_knowledge(f"u{user}", Stamp("k", NOW), _knowledge(catalogue.user_vectors[user]))


def item_table(catalogue: Catalogue, vocabulary: Vocabulary) -> pd.DataFrame:
    """The plain path's rows of items: the model's indices, and the vector."""
    scenario, numbers = load_scenario("movies"), range(catalogue.items)
    fields = [vocabulary.field_indices(scenario.field_values(catalogue.item(number))) for number in numbers]
    return pd.DataFrame(
        {
            "item_id": [f"i{number}" for number in numbers],
            "item_index": [vocabulary.item_index(f"i{number}") for number in numbers],
            "genre": [int(row[0]) for row in fields],
            "decade": [int(row[1]) for row in fields],
            "augmented": list(catalogue.item_vectors),
        }
    )


def user_table(catalogue: Catalogue) -> pd.DataFrame:
    """The plain path's rows of users."""
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(USERS)],
            "history_item_ids": [catalogue.history(user) for user in range(USERS)],
            "history_ratings": [RATINGS] * USERS,
            "user_augmented": list(catalogue.user_vectors),
        }
    )


def questions(catalogue: Catalogue, candidates: int) -> list[tuple[str, list[str]]]:
    """Users and the ids of so many candidates, others in each question."""
    random = np.random.default_rng(candidates)
    chosen = [random.choice(catalogue.items, candidates, replace=False) for _ in range(REQUESTS)]
    return [(f"u{place % USERS}", [f"i{number}" for number in numbers]) for place, numbers in enumerate(chosen)]


def rank_requests(asked: Sequence[tuple[str, list[str]]], use_knowledge: bool = True) -> list[bytes]:
    """Encoded RankRequests."""
    return [
        ranking_pb2.RankRequest(
            user_id=user, scenario="movies", candidate_item_ids=ids, use_knowledge=use_knowledge
        ).SerializeToString()
        for user, ids in asked
    ]


def json_requests(asked: Sequence[tuple[str, list[str]]]) -> list[bytes]:
    """The same for the peers' HTTP endpoints."""
    return [json.dumps({"user_id": user, "candidates": ids}).encode() for user, ids in asked]


def _knowledge(augmented: npt.NDArray[np.float32]) -> KnowledgeVectors:
    provenance = Provenance(
        key="k",
        provider="catalogue",
        model="none",
        scenario="movies",
        prompt_version=1,
        factors=(),
        prompt_tokens=0,
        completion_tokens=0,
        finish_reason="stop",
        created_time=NOW,
        parameters_json="{}",
    )
    vector = np.zeros(KNOWLEDGE_WIDTH, dtype=np.float32)
    return KnowledgeVectors(Knowledge("A film.", provenance), "random", vector, "1", augmented)
