"""Nearest items by augmented vector, kept up by a stream of changes of its own.

One index a scenario and model version. Packed features hold the vectors of the served version and of its neighbour, so
the next version's index is whole before the pointer flips to it, and the one before stays for a rollback: a promotion
leaves no gap, and nothing is built twice.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from usearch.index import Index

from loreline.domain import PackedItem

CHUNK = 200  # items added at a time: searches wait for no more
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 128  # recall@100 of 0.997 on 100,000 vectors; docs/design.md
_Column = tuple[str, int]  # model version, width A


class ItemIndex:
    """The living items of all scenarios that have vectors, in the newest states applied. Safe to share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scenarios: dict[str, _ScenarioItems] = {}

    def apply(self, items: Sequence[PackedItem]) -> None:
        """Take over items' newest states, about 50 microseconds for each vector that is new."""
        newest = list({item.item_id: item for item in items}.values())
        for start in range(0, len(newest), CHUNK):
            with self._lock:
                self._apply(newest[start : start + CHUNK])

    def clear(self) -> None:
        """Forget all items."""
        with self._lock:
            self._scenarios.clear()

    def nearest(self, scenario: str, version: str, vectors: npt.NDArray[np.float32], count: int) -> list[list[str]]:
        """For each of (Q, A) vectors at most `count` ids of items near to it by a version's vectors, nearest first."""
        with self._lock:
            items = self._scenarios.get(scenario)
            return items.nearest((version, vectors.shape[1]), vectors, count) if items else [[] for _ in vectors]

    def newest(self, scenario: str, count: int) -> list[str]:
        """At most `count` ids of items of a scenario, with vectors or not, those first that came last."""
        with self._lock:
            items = self._scenarios.get(scenario)
            return items.newest(count) if items else []

    def sizes(self) -> dict[tuple[str, str], int]:
        """How many vectors there are by scenario and model version."""
        with self._lock:
            return {(name, version): n for name, items in self._scenarios.items() for version, n in items.sizes()}

    def _apply(self, items: Sequence[PackedItem]) -> None:
        by_scenario: dict[str, list[PackedItem]] = {}
        for item in items:
            if not item.deleted:
                by_scenario.setdefault(item.scenario, []).append(item)
        for scenario in by_scenario:
            self._scenarios.setdefault(scenario, _ScenarioItems())
        for name, held in self._scenarios.items():
            staying = {item.item_id for item in by_scenario.get(name, [])}
            held.remove(item.item_id for item in items if item.item_id not in staying)
            held.put(by_scenario.get(name, []))


class _ScenarioItems:
    """One scenario's items, in the order in which they came, and their vectors by version. Not safe to share."""

    def __init__(self) -> None:
        self._key_of: dict[str, int] = {}
        self._id_of: dict[int, str] = {}
        self._next = itertools.count()
        self._columns: dict[_Column, Index] = {}

    def put(self, items: Sequence[PackedItem]) -> None:
        keys = [self._key(item.item_id) for item in items]
        vectors = [_usable(item) for item in items]
        for column in {column for of_item in vectors for column in of_item} - self._columns.keys():
            self._columns[column] = _new_index(column[1])
        for column, index in self._columns.items():
            self._put(index, {key: of_item.get(column) for key, of_item in zip(keys, vectors, strict=True)})
        self._columns = {column: index for column, index in self._columns.items() if len(index)}

    def remove(self, item_ids: Iterable[str]) -> None:
        keys = [self._key_of.pop(item_id) for item_id in item_ids if item_id in self._key_of]
        for key in keys:
            del self._id_of[key]
        for index in self._columns.values():
            _discard(index, keys)

    def nearest(self, column: _Column, vectors: npt.NDArray[np.float32], count: int) -> list[list[str]]:
        index = self._columns.get(column)
        if index is None or not len(index):
            return [[] for _ in vectors]
        matches = [index.search(vector, count, threads=1) for vector in vectors]
        return [[self._id_of[key] for key in found.keys.tolist()] for found in matches]

    def newest(self, count: int) -> list[str]:
        return list(itertools.islice(reversed(self._id_of.values()), count))

    def sizes(self) -> Iterator[tuple[str, int]]:
        for (version, _), index in self._columns.items():
            yield version, len(index)

    def _key(self, item_id: str) -> int:
        if item_id not in self._key_of:
            key = self._key_of[item_id] = next(self._next)
            self._id_of[key] = item_id
        return self._key_of[item_id]

    def _put(self, index: Index, vectors: dict[int, npt.NDArray[np.float32] | None]) -> None:
        """Let the index hold these vectors of these keys; most are as they were, and adding one is what costs."""
        changed = {key: vector for key, vector in vectors.items() if not _holds(index, key, vector)}
        _discard(index, list(changed))
        new = {key: vector for key, vector in changed.items() if vector is not None}
        if new:
            index.add(np.array(list(new), dtype=np.uint64), np.stack(list(new.values())), threads=1)


def _new_index(width: int) -> Index:
    return Index(
        ndim=width,
        metric="cos",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


def _usable(item: PackedItem) -> dict[_Column, npt.NDArray[np.float32]]:
    """The item's vectors that have a direction."""
    return {(version, len(vector)): vector for version, vector in item.augmented.items() if np.any(vector)}


def _holds(index: Index, key: int, vector: npt.NDArray[np.float32] | None) -> bool:
    held = index.get(key) if key in index else None
    if held is None or vector is None:
        return held is None and vector is None
    return bool(np.array_equal(np.asarray(held), vector))


def _discard(index: Index, keys: Sequence[int]) -> None:
    for key in keys:
        if key in index:
            index.remove(key)
