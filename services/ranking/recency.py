"""Which rows of a cache were not used for longest, nearly: the clock algorithm, also called second chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.ranking.item_rows import grown

BLOCK = 4096


class Recency:
    """A mark a row, and a hand that goes round. Not safe to share: the cache's lock holds it.

    A use sets the row's mark. Whoever needs a row moves the hand on: a marked row loses its mark and stays, an
    unmarked one goes. It costs one byte a row, and one assignment an array of uses, where exact order would cost a list
    operation each (F. J. Corbato, A Paging Experiment with the Multics System, 1968).
    """

    def __init__(self, rows: int) -> None:
        self._used = np.zeros(rows + 1, dtype=np.uint8)  # the last one takes the marks of rows that are absent, -1
        self._hand = 0

    def grow(self, rows: int) -> None:
        """Make room for so many rows."""
        self._used = grown(self._used, rows + 1)

    def mark(self, rows: npt.NDArray[np.intp]) -> None:
        """Tell that rows were used; -1 for none."""
        self._used[rows] = 1

    def forget(self, row: int) -> None:
        """Tell that a row holds something new, that nobody used yet."""
        self._used[row] = 0

    def victims(self, count: int, occupied: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """(count,) occupied rows (R,) that should go first; at least `count` must be occupied."""
        found: list[npt.NDArray[np.intp]] = []
        while count:
            end = min(self._hand + BLOCK, len(occupied))
            unmarked = occupied[self._hand : end] & (self._used[self._hand : end] == 0)
            rows = self._hand + np.flatnonzero(unmarked)[:count]
            stop = int(rows[-1]) + 1 if len(rows) == count else end
            self._used[self._hand : stop] = 0
            self._hand = stop % len(occupied)
            found.append(rows)
            count -= len(rows)
        return np.concatenate(found) if found else np.empty(0, dtype=np.intp)
