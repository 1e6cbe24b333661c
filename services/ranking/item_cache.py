"""The items' features in columns, fed by the features service's stream of changes.

Nothing in it belongs to a model version: field values are kept as codes of an interner, and augmented vectors under
the version that made them. So a promotion needs no second read of the catalogue, and a request that began with the
old version still finds all that it needs. The price is one more gather a request, some microseconds. When most codes
stand for texts that no item has any more, another interner gives codes to the rest; rows say whose theirs are.

Writers prepare a batch outside of the lock and hold it for some array assignments; readers hold it for their gather.
So no reader sees a half-written row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loreline.domain import PackedItem
from services.ranking.item_rows import ABSENT, Interner, ItemRows, grown, no_titles, no_vectors, recoded, to_width
from services.ranking.recency import Recency

FIRST_CAPACITY = 1024
SPARE_CODES = 65_536  # codes are not given anew for fewer texts than these
_Column = tuple[str, int]  # model version, width A
Admit = Callable[[Sequence[PackedItem]], None]


@dataclass
class _Vectors:
    """The augmented vectors of one model version, of one width A."""

    values: npt.NDArray[np.float32]  # (capacity, A)
    present: npt.NDArray[np.bool_]  # (capacity,)

    def at(self, rows: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        return self.values[rows], self.present[rows]


@dataclass(frozen=True)
class _Batch:
    """Items ready to be stored. `vectors`: (version, width) to (positions in `item_ids`, (n, A) vectors)."""

    interner: Interner
    item_ids: list[str]
    titles: npt.NDArray[np.object_]
    scenario: npt.NDArray[np.int32]
    field_codes: npt.NDArray[np.int32]
    vectors: dict[_Column, tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]


class ItemCache:
    """The newest states of the items applied to it. Safe to share.

    With `max_items` (0: no bound) those put out are the ones that were not gathered for longest, nearly.
    """

    def __init__(self, interner: Interner | None = None, max_items: int = 0) -> None:
        self.interner, self._max_items, self._most_codes = interner or Interner(), max_items, SPARE_CODES
        capacity = min(FIRST_CAPACITY, max_items or FIRST_CAPACITY)
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}
        self._ids: list[str] = [""] * capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._scenario = np.full(capacity, ABSENT, dtype=np.int32)
        self._field_codes = np.zeros((capacity, 1), dtype=np.int32)
        self._titles = no_titles(capacity)
        self._vectors: dict[_Column, _Vectors] = {}
        self._recency = Recency(capacity)
        self._changed_during: dict[object, set[str]] = {}  # for each read of the store that is under way
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_evicted(self) -> bool:
        """Whether items were put out, so that one that is absent may be stored all the same."""
        return self.evicted > 0

    def apply(self, items: Sequence[PackedItem]) -> None:
        """Take over items' newest states; of several states of one item the last one holds."""
        newest = {item.item_id: item for item in items}
        deleted = [item_id for item_id, item in newest.items() if item.deleted]
        stored = [item for item in newest.values() if not item.deleted]
        batch = self._encode(stored[-self._max_items :] if self._max_items else stored)
        with self._lock:
            for changed in self._changed_during.values():
                changed.update(newest)
            self._remove(deleted)
            self._store(batch)

    def clear(self) -> None:
        """Forget all items; reads of the store that are under way are not kept."""
        with self._lock:
            self._changed_during.clear()
            self._remove(list(self._rows))

    @contextmanager
    def reading(self) -> Iterator[Admit]:
        """Around a read of the store: call what it yields with the items read, and they are kept.

        Those that `apply` was told of in between are not: what was read of them may be older. After `clear` none is.
        """
        token, changed = object(), set[str]()
        with self._lock:
            self._changed_during[token] = changed
        try:
            yield lambda items: self._admit(items, token)
        finally:
            with self._lock:
                self._changed_during.pop(token, None)

    def gather(self, item_ids: Sequence[str], fields: int, version: str, width: int) -> ItemRows:
        """The rows of items: `fields` F, `version` whose augmented vectors of `width` A are wanted."""
        with self._lock:
            find = self._rows.get
            rows = np.array([find(item_id, ABSENT) for item_id in item_ids], dtype=np.intp)
            self._recency.mark(rows)
            scenario = np.where(rows == ABSENT, np.int32(ABSENT), self._scenario[rows])
            field_codes = to_width(self._field_codes[rows], fields)
            titles = self._titles[rows]
            column = self._vectors.get((version, width))
            augmented, present = no_vectors(len(rows), width) if column is None else column.at(rows)
            interner = self.interner
        stored = scenario != ABSENT
        field_codes[~stored], titles[~stored] = 0, ""
        present &= stored
        augmented[~present] = 0
        return ItemRows(interner, scenario, field_codes, augmented, present, titles)

    def _encode(self, items: Sequence[PackedItem]) -> _Batch:
        interner = self.interner
        code = interner.code
        width = max((len(item.field_values) for item in items), default=0)
        field_codes = np.zeros((len(items), max(width, 1)), dtype=np.int32)
        for row, item in enumerate(items):
            field_codes[row, : len(item.field_values)] = [code(value) for value in item.field_values]
        scenario = np.array([code(item.scenario) for item in items], dtype=np.int32)
        titles = no_titles(len(items))
        titles[:] = [item.title for item in items]
        return _Batch(
            interner, [item.item_id for item in items], titles, scenario, field_codes, _vectors_by_column(items)
        )

    def _admit(self, items: Sequence[PackedItem], token: object) -> None:
        newest = items[-self._max_items :] if self._max_items else items
        batch = self._encode(newest)
        with self._lock:
            changed = self._changed_during.get(token)
            if changed is None:
                return
            if changed:
                batch = self._encode([item for item in newest if item.item_id not in changed])
            self._recency.mark(self._store(batch))

    def _remove(self, item_ids: Iterable[str]) -> None:
        for item_id in item_ids:
            row = self._rows.pop(item_id, None)
            if row is not None:
                self._clear(row)
                self._free.append(row)

    def _clear(self, row: int) -> None:
        self._scenario[row], self._ids[row], self._titles[row] = ABSENT, "", ""
        for vectors in self._vectors.values():
            vectors.present[row] = False

    def _store(self, batch: _Batch) -> npt.NDArray[np.intp]:
        self._make_room(batch.item_ids)
        rows = np.array([self._row(item_id) for item_id in batch.item_ids], dtype=np.intp)
        scenario, field_codes = (recoded(c, batch.interner, self.interner) for c in (batch.scenario, batch.field_codes))
        width = max(self._field_codes.shape[1], field_codes.shape[1])
        self._field_codes = to_width(self._field_codes, width)
        self._scenario[rows], self._field_codes[rows] = scenario, to_width(field_codes, width)
        self._titles[rows] = batch.titles
        for old in self._vectors.values():
            old.present[rows] = False
        for key, (positions, values) in batch.vectors.items():
            column = self._column(key)
            column.values[rows[positions]], column.present[rows[positions]] = values, True
        self._vectors = {key: column for key, column in self._vectors.items() if column.present.any()}
        if len(self.interner.values) > self._most_codes:
            self._shed_codes()
        return rows

    def _shed_codes(self) -> None:
        """Give codes anew where more than half stand for texts that no item has."""
        texts, stored = list(self.interner.values), self._scenario != ABSENT
        used = np.zeros(len(texts), dtype=np.bool_)
        used[0] = True
        used[self._scenario[stored]] = used[self._field_codes[stored]] = True
        kept = np.flatnonzero(used)
        if 2 * len(kept) < len(texts):
            codes = np.zeros(len(texts), dtype=np.int32)
            codes[kept] = np.arange(len(kept))
            self.interner = Interner(texts[code] for code in kept[1:].tolist())
            self._scenario[stored], self._field_codes = codes[self._scenario[stored]], codes[self._field_codes]
        self._most_codes = max(SPARE_CODES, 2 * len(kept))

    def _make_room(self, item_ids: Sequence[str]) -> None:
        excess = self._excess(item_ids)
        while excess > 0:  # an item put out may be one of the batch, which then needs a row as well
            victims = self._recency.victims(min(excess, len(self._rows)), self._scenario != ABSENT)
            self._remove([self._ids[row] for row in victims.tolist()])
            self.evicted += len(victims)
            excess = self._excess(item_ids)

    def _excess(self, item_ids: Sequence[str]) -> int:
        if not self._max_items:
            return 0
        return len(self._rows) + sum(item_id not in self._rows for item_id in item_ids) - self._max_items

    def _row(self, item_id: str) -> int:
        row = self._rows.get(item_id)
        if row is None:
            if not self._free:
                self._grow()
            row = self._rows[item_id] = self._free.pop()
            self._ids[row] = item_id
            self._recency.forget(row)
        return row

    def _grow(self) -> None:
        rows = len(self._scenario)
        capacity = min(2 * rows, self._max_items or 2 * rows)
        self._free.extend(range(capacity - 1, rows - 1, -1))
        self._ids.extend([""] * (capacity - rows))
        self._scenario = grown(self._scenario, capacity, ABSENT)
        self._field_codes, self._titles = grown(self._field_codes, capacity), grown(self._titles, capacity, "")
        self._recency.grow(capacity)
        for column in self._vectors.values():
            column.values, column.present = grown(column.values, capacity), grown(column.present, capacity)

    def _column(self, key: _Column) -> _Vectors:
        if key not in self._vectors:
            self._vectors[key] = _Vectors(*no_vectors(len(self._scenario), key[1]))
        return self._vectors[key]


def _vectors_by_column(
    items: Sequence[PackedItem],
) -> dict[_Column, tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """See _Batch.vectors: a vector of a wrong width is never looked up."""
    found: dict[_Column, list[tuple[int, npt.NDArray[np.float32]]]] = {}
    for position, item in enumerate(items):
        for version, vector in item.augmented.items():
            found.setdefault((version, len(vector)), []).append((position, vector))
    return {
        key: (np.array([position for position, _ in column]), np.stack([vector for _, vector in column]))
        for key, column in found.items()
    }
