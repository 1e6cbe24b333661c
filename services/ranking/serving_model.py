"""What is in memory of a model version that scores stored features: kinds kar and unictr-student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from services.model_registry import Manifest, Vocabulary
from services.ranking.item_rows import Interner, ItemRows
from services.ranking.scorers import Scorer


class FieldIndex:
    """Translates interners' codes of field values to one vocabulary's indices; grows as new values are seen.

    What `interner` has given codes to so far is translated at once. Safe to share.
    """

    def __init__(self, vocabulary: Vocabulary, interner: Interner) -> None:
        self._vocabulary, self._fields = vocabulary, len(vocabulary.fields)
        self._tables: WeakKeyDictionary[Interner, npt.NDArray[np.int64]] = WeakKeyDictionary()
        self._table(interner, len(interner.values))

    def indices(self, rows: ItemRows) -> npt.NDArray[np.int64]:
        """(N, F) indices of N items' field values."""
        codes = rows.field_codes
        table = self._table(rows.interner, int(codes.max()) + 1 if codes.size else 1)
        return table[codes, np.arange(self._fields)]

    def _table(self, interner: Interner, size: int) -> npt.NDArray[np.int64]:
        """The indices of at least so many codes: two threads at once build the same."""
        table = self._tables.get(interner)
        known = 0 if table is None else len(table)
        if table is None or size > known:
            new = self._rows(interner.values[known:])
            table = new if table is None else np.concatenate([table, new])
            self._tables[interner] = table
        return table

    def _rows(self, values: Sequence[str]) -> npt.NDArray[np.int64]:
        rows = [self._vocabulary.field_indices([value] * self._fields) for value in values]
        return np.array(rows, dtype=np.int64).reshape(len(rows), self._fields)


@dataclass(frozen=True)
class ServingModel:
    """One version, all halves of it that ranking needs. A request takes one and keeps it to its end."""

    manifest: Manifest
    vocabulary: Vocabulary
    fields: FieldIndex
    scorer: Scorer

    def ready(self) -> bool:
        """Whether its scorer answers."""
        return self.scorer.ready()
