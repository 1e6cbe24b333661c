"""The items' features in columns, fed by the features service's stream of changes.

Nothing in it belongs to a model version: field values are kept as codes of an interner, and augmented vectors under
the version that made them. So a promotion needs no second read of the catalogue, and a request that began with the
old version still finds all that it needs. The price is one more gather a request, some microseconds.

Writers prepare a batch outside of the lock and hold it for some array assignments; readers hold it for their gather.
So no reader sees a half-written row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from loreline.client import PackedItem

FIRST_CAPACITY = 1024
ABSENT = -1  # scenario code of an item that is not stored
NEVER_SEEN = -2  # code of a text that no item has
Scalar = TypeVar("Scalar", bound=np.generic)
_Column = tuple[str, int]  # model version, width A


class Interner:
    """Gives each distinct text a code, 0 for the empty one. Codes are never taken back. Safe to share."""

    def __init__(self) -> None:
        self.values = [""]
        self._codes = {"": 0}
        self._lock = threading.Lock()

    def code(self, value: str) -> int:
        """The text's code, a new one at its first sight."""
        code = self._codes.get(value)
        return self._add(value) if code is None else code

    def find(self, value: str) -> int:
        """The text's code, or NEVER_SEEN."""
        return self._codes.get(value, NEVER_SEEN)

    def _add(self, value: str) -> int:
        with self._lock:
            if value not in self._codes:
                self.values.append(value)  # first: who knows the code must find the value
                self._codes[value] = len(self.values) - 1
            return self._codes[value]


@dataclass(frozen=True)
class ItemRows:
    """Features of N items, in the order asked, as one model version sees their knowledge.

    `scenario` (N,) int32 codes, ABSENT where the item is not stored; `field_codes` (N, F) int32; `augmented` (N, A)
    float32, zeros where `has_knowledge` (N,) is False.
    """

    scenario: npt.NDArray[np.int32]
    field_codes: npt.NDArray[np.int32]
    augmented: npt.NDArray[np.float32]
    has_knowledge: npt.NDArray[np.bool_]

    def at(self, rows: npt.NDArray[np.intp] | slice) -> ItemRows:
        """Some of the rows; views where `rows` is a slice."""
        return ItemRows(self.scenario[rows], self.field_codes[rows], self.augmented[rows], self.has_knowledge[rows])

    def put(self, rows: npt.NDArray[np.intp], other: ItemRows) -> None:
        """Write another one's rows, in their order, in the place of some of these."""
        self.scenario[rows], self.field_codes[rows] = other.scenario, other.field_codes
        self.augmented[rows], self.has_knowledge[rows] = other.augmented, other.has_knowledge


@dataclass
class _Vectors:
    """The augmented vectors of one model version, of one width A."""

    values: npt.NDArray[np.float32]  # (capacity, A)
    present: npt.NDArray[np.bool_]  # (capacity,)

    def at(self, rows: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        return self.values[rows], self.present[rows]


class ItemCache:
    """The newest states of the items applied to it. Caches that share an interner share codes. Safe to share."""

    def __init__(self, interner: Interner | None = None) -> None:
        self.interner = interner or Interner()
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}
        self._free = list(range(FIRST_CAPACITY - 1, -1, -1))
        self._scenario = np.full(FIRST_CAPACITY, ABSENT, dtype=np.int32)
        self._field_codes = np.zeros((FIRST_CAPACITY, 1), dtype=np.int32)
        self._vectors: dict[_Column, _Vectors] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, items: Sequence[PackedItem]) -> None:
        """Take over items' newest states; of several states of one item the last one holds."""
        newest = {item.item_id: item for item in items}
        deleted = [item_id for item_id, item in newest.items() if item.deleted]
        stored = [item for item in newest.values() if not item.deleted]
        scenario, field_codes = self._encode(stored)
        vectors = _vectors_by_column(stored)
        with self._lock:
            self._remove(deleted)
            self._store([item.item_id for item in stored], scenario, field_codes, vectors)

    def gather(self, item_ids: Sequence[str], fields: int, version: str, width: int) -> ItemRows:
        """The rows of items: `fields` F, `version` whose augmented vectors of `width` A are wanted."""
        with self._lock:
            find = self._rows.get
            rows = np.array([find(item_id, ABSENT) for item_id in item_ids], dtype=np.intp)
            scenario = np.where(rows == ABSENT, np.int32(ABSENT), self._scenario[rows])
            field_codes = _to_width(self._field_codes[rows], fields)
            column = self._vectors.get((version, width))
            augmented, present = _no_vectors(len(rows), width) if column is None else column.at(rows)
        stored = scenario != ABSENT
        field_codes[~stored] = 0
        present &= stored
        augmented[~present] = 0
        return ItemRows(scenario, field_codes, augmented, present)

    def _encode(self, items: Sequence[PackedItem]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        code = self.interner.code
        width = max((len(item.field_values) for item in items), default=0)
        field_codes = np.zeros((len(items), max(width, 1)), dtype=np.int32)
        for row, item in enumerate(items):
            field_codes[row, : len(item.field_values)] = [code(value) for value in item.field_values]
        return np.array([code(item.scenario) for item in items], dtype=np.int32), field_codes

    def _remove(self, item_ids: Sequence[str]) -> None:
        for item_id in item_ids:
            row = self._rows.pop(item_id, None)
            if row is not None:
                self._clear(row)
                self._free.append(row)

    def _clear(self, row: int) -> None:
        self._scenario[row] = ABSENT
        for vectors in self._vectors.values():
            vectors.present[row] = False

    def _store(
        self,
        item_ids: Sequence[str],
        scenario: npt.NDArray[np.int32],
        field_codes: npt.NDArray[np.int32],
        vectors: dict[_Column, tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]],
    ) -> None:
        rows = np.array([self._row(item_id) for item_id in item_ids], dtype=np.intp)
        width = max(self._field_codes.shape[1], field_codes.shape[1])
        self._field_codes = _to_width(self._field_codes, width)
        self._scenario[rows], self._field_codes[rows] = scenario, _to_width(field_codes, width)
        for old in self._vectors.values():
            old.present[rows] = False
        for key, (positions, values) in vectors.items():
            column = self._column(key)
            column.values[rows[positions]], column.present[rows[positions]] = values, True
        self._vectors = {key: column for key, column in self._vectors.items() if column.present.any()}

    def _row(self, item_id: str) -> int:
        row = self._rows.get(item_id)
        if row is None:
            if not self._free:
                self._grow()
            row = self._rows[item_id] = self._free.pop()
        return row

    def _grow(self) -> None:
        capacity = len(self._scenario)
        self._free.extend(range(2 * capacity - 1, capacity - 1, -1))
        self._scenario = np.concatenate([self._scenario, np.full(capacity, ABSENT, dtype=np.int32)])
        self._field_codes = _doubled(self._field_codes)
        for column in self._vectors.values():
            column.values, column.present = _doubled(column.values), _doubled(column.present)

    def _column(self, key: _Column) -> _Vectors:
        if key not in self._vectors:
            self._vectors[key] = _Vectors(*_no_vectors(len(self._scenario), key[1]))
        return self._vectors[key]


def _vectors_by_column(
    items: Sequence[PackedItem],
) -> dict[_Column, tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """(version, width) to (positions in `items`, (n, A) vectors): a vector of a wrong width is never looked up."""
    found: dict[_Column, list[tuple[int, npt.NDArray[np.float32]]]] = {}
    for position, item in enumerate(items):
        for version, vector in item.augmented.items():
            found.setdefault((version, len(vector)), []).append((position, vector))
    return {
        key: (np.array([position for position, _ in column]), np.stack([vector for _, vector in column]))
        for key, column in found.items()
    }


def _no_vectors(rows: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    return np.zeros((rows, width), dtype=np.float32), np.zeros(rows, dtype=np.bool_)


def _to_width(codes: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """(N, F) codes cut or filled with 0, the code of the unknown, to (N, width)."""
    missing = width - codes.shape[1]
    return codes[:, :width] if missing <= 0 else np.pad(codes, ((0, 0), (0, missing)))


def _doubled(column: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    return np.concatenate([column, np.zeros_like(column)])
