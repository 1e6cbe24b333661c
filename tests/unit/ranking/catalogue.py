"""A small catalogue and its user, and the scores that its candidates must get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from memory_features import item
from model_versions import AUGMENTED, HISTORY, expected_scores, vocabulary

from loreline.domain import PackedUser
from services.model_registry import PADDING, UNKNOWN

VECTOR = [0.5, -1.0, 0.25, 2.0]
USER_VECTOR = [1.0, 0.5, -0.5, 0.25]
USER = PackedUser(
    "ann",
    ["i1", "i2", "gone", "i3", "i4", "i5", "i6"],
    [5, 1, 4, 0, 3, 2, 5],
    [10, 20, 30, 40, 50, 60, 70],
    {"1": np.array(USER_VECTOR, dtype=np.float32)},
)
ITEMS = [
    item("i0", "Comedy", "1980", v1=VECTOR),
    item("i1", "Drama", "1990"),
    item("i2", "Horror", "2020", v1=VECTOR[::-1]),
    item("i3", "Western", ""),
    item("i4", "Comedy", "1990", v2=VECTOR),
    item("new", "Drama", "1980", v1=VECTOR),
]
ITEMS_BY_ID = {stored.item_id: stored for stored in ITEMS}


def inputs_for(
    candidates: Sequence[str], user: PackedUser, *, knowledge: bool = True, latest: float = 1e12, version: str = "1"
) -> dict[str, np.ndarray]:
    """The scorer's inputs as the contract words them, candidate by candidate."""
    words, items = vocabulary(), ITEMS_BY_ID
    past = [(i, r) for i, r, t in zip(user.item_ids, user.ratings, user.times, strict=True) if t <= latest][-HISTORY:]
    padding = [PADDING] * (HISTORY - len(past))

    def fields(item_id: str) -> list[int]:
        return list(words.field_indices(items[item_id].field_values)) if item_id in items else [UNKNOWN, UNKNOWN]

    def vector(augmented: dict[str, np.ndarray]) -> np.ndarray:
        return augmented.get(version, np.zeros(AUGMENTED)) if knowledge else np.zeros(AUGMENTED)

    return {
        "item_id": np.array([[words.item_index(i) for i in candidates]]),
        "item_fields": np.array([[fields(i) for i in candidates]]),
        "item_augmented": np.array([[vector(items[i].augmented) for i in candidates]]),
        "history_item_id": np.array([[words.item_index(i) for i, _ in past] + padding]),
        "history_fields": np.array([[fields(i) for i, _ in past] + [[PADDING, PADDING]] * len(padding)]),
        "history_rating": np.array([[r for _, r in past] + [0] * len(padding)], dtype=np.float32),
        "user_augmented": np.array([vector(user.augmented)]),
    }


def best_first(
    candidates: Sequence[str], user: PackedUser, seed: int = 1, **options: object
) -> list[tuple[str, float]]:
    """Candidates with the scores that they must get, in the order that they must have."""
    scores = expected_scores(seed, inputs_for(candidates, user, **options))[0]
    return sorted(zip(candidates, scores.tolist(), strict=True), key=lambda pair: -pair[1])


def assert_ranked(ranked: object, expected: list[tuple[str, float]]) -> None:
    assert ranked.item_ids == [item_id for item_id, _ in expected]
    np.testing.assert_allclose(ranked.scores, [score for _, score in expected], atol=1e-5)
