"""What is in memory of a model version that scores stored features: kinds kar and unictr-student."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.model_registry import Manifest, Vocabulary
from services.ranking.item_cache import Interner
from services.ranking.scorers import Scorer


class FieldIndex:
    """Translates the cache's codes of field values to one vocabulary's indices; grows as new values are seen."""

    def __init__(self, vocabulary: Vocabulary, interner: Interner) -> None:
        self._vocabulary, self._interner = vocabulary, interner
        self._fields = len(vocabulary.fields)
        self._table = self._rows(0, len(interner.values))

    def indices(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """(N, F) indices of (N, F) codes."""
        table = self._table
        if codes.size and int(codes.max()) >= len(table):
            new = self._rows(len(table), len(self._interner.values))
            table = self._table = np.concatenate([table, new])  # two threads at once build the same
        return table[codes, np.arange(self._fields)]

    def _rows(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        values = self._interner.values[start:stop]
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
