"""Collective knowledge: one question for each group of similar items or users, mixed with each one's own content.

The number of language model calls follows the number of groups, not that of items and users (REKI, arXiv 2408.10520).
Groups are found on content alone, by mini-batch k-means; vectors are rows, N subjects, K wide, C groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from loreline.domain import Cluster, HistoryEntry, Item, UserHistory

BATCH_ROWS, STARTS = 4096, 3
CENTRAL_ITEMS, CENTRAL_USERS = 15, 10
MAX_CLUSTER_ENTRIES = 30  # of a user cluster: as many as the longest history that one user is asked about with
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class KnowledgeConfig(BaseModel):
    """How knowledge is asked for. `clusters` counts groups of items and, again, groups of users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["individual", "collective"] = "individual"
    clusters: int = Field(default=100, ge=1, le=100_000)
    cluster_weight: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=1234, ge=0, lt=2**32)


INDIVIDUAL = KnowledgeConfig()


def cluster(vectors: npt.NDArray[np.floating], count: int, seed: int) -> tuple[Integers, Floats]:
    """Group N vectors (N, K): the group of each (N,) and the groups' centres (C, K), float32, every group non-empty.

    C is `count`, or less where there are not so many different vectors. The same input and seed give the same groups.
    Raises ValueError for a count below 1 and for no vectors.
    """
    if count < 1 or not len(vectors):
        raise ValueError(f"must have at least one vector and one group, got {len(vectors)} and {count}")
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    groups = min(count, len(np.unique(rows, axis=0)))
    with threadpool_limits(1):  # sums in another order would give other groups on another number of cores
        means = MiniBatchKMeans(groups, random_state=seed, n_init=STARTS, batch_size=BATCH_ROWS).fit(rows)
    used, assignment = np.unique(means.labels_, return_inverse=True)  # k-means may leave a group empty
    return assignment.astype(np.int64), means.cluster_centers_[used].astype(np.float32)


def mix(
    content: npt.NDArray[np.floating],
    clusters: npt.NDArray[np.floating],
    assignment: npt.NDArray[np.integer],
    weight: float,
) -> Floats:
    """normalise(weight * cluster + (1 - weight) * content): (N, K) and (C, K) to unit vectors (N, K), float32.

    A subject whose two vectors cancel out keeps its content. Raises ValueError for a weight that is not 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight: must be 0 to 1, is {weight}")
    mixed = weight * clusters[assignment] + (1 - weight) * content
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, mixed / np.maximum(lengths, 1e-6), content).astype(np.float32)


def central_members(vectors: Floats, centres: Floats, assignment: Integers, limit: int) -> list[Integers]:
    """For each of C groups the rows of its at most `limit` members nearest its centre, nearest first."""
    distances = np.linalg.norm(vectors - centres[assignment], axis=1)  # (N,)
    order = np.lexsort((distances, assignment))
    ends = np.searchsorted(assignment[order], np.arange(len(centres) + 1))
    return [order[begin : min(begin + limit, end)] for begin, end in pairwise(ends)]


def user_content(histories: Sequence[UserHistory], item_vectors: Mapping[str, Floats], minimum_rating: float) -> Floats:
    """Unit vectors (U, K) of users: the mean of their items' vectors, weighted by rating.

    An item rated at the scenario's minimum weighs 1, each unit above it 1 more; an unrated one weighs 1.
    Raises KeyError for an item without a vector.
    """
    means = np.stack([_weighted_mean(history.entries, item_vectors, minimum_rating) for history in histories])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def item_clusters(items: Sequence[Item], members: Sequence[Integers], name: str) -> list[Cluster]:
    """One question a group: its central items, unrated."""
    return [
        Cluster(_id(name, "item", number, len(members)), "item", [HistoryEntry(items[row]) for row in rows])
        for number, rows in enumerate(members)
    ]


def user_clusters(histories: Sequence[UserHistory], members: Sequence[Integers], name: str) -> list[Cluster]:
    """One question a group: what its central users rated most often, with the mean rating.

    Only what the histories hold is told: leave out of them what must not be known yet.
    """
    return [
        Cluster(_id(name, "user", number, len(members)), "user", _merged([histories[row] for row in rows]))
        for number, rows in enumerate(members)
    ]


def _id(name: str, kind: str, number: int, count: int) -> str:
    return f"{name}-{kind}-{number + 1}-of-{count}"


def _weighted_mean(entries: Sequence[HistoryEntry], item_vectors: Mapping[str, Floats], minimum: float) -> Floats:
    weights = np.array([1.0 if e.rating is None else e.rating - minimum + 1 for e in entries], dtype=np.float32)
    vectors = np.stack([item_vectors[entry.item.item_id] for entry in entries])  # (L, K)
    return np.asarray(np.average(vectors, axis=0, weights=weights), dtype=np.float32)


def _merged(histories: Sequence[UserHistory]) -> list[HistoryEntry]:
    ratings: defaultdict[str, list[float]] = defaultdict(list)
    seen: defaultdict[str, int] = defaultdict(int)
    items: dict[str, Item] = {}
    for entry in (entry for history in histories for entry in history.entries):
        items.setdefault(entry.item.item_id, entry.item)
        seen[entry.item.item_id] += 1
        ratings[entry.item.item_id] += [] if entry.rating is None else [entry.rating]
    merged = {item_id: HistoryEntry(item, _mean(ratings[item_id])) for item_id, item in items.items()}
    order = sorted(merged, key=lambda item_id: (-seen[item_id], -(merged[item_id].rating or 0.0), item_id))
    return [merged[item_id] for item_id in order[:MAX_CLUSTER_ENTRIES]]


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
