"""Columns of items' features: what the cache hands out, and how its arrays are widened and grown."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

ABSENT = -1  # scenario code of an item that is not stored
NEVER_SEEN = -2  # code of a text that no item has
Scalar = TypeVar("Scalar", bound=np.generic)


class Interner:
    """Gives each distinct text a code, 0 for the empty one, then the given ones. It takes none back. Safe to share."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.values = ["", *texts]
        self._codes = {text: code for code, text in enumerate(self.values)}
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

    `interner` is who gave the codes: `scenario` (N,) int32, ABSENT where the item is not stored; `field_codes` (N, F)
    int32. `augmented` (N, A) float32, zeros where `has_knowledge` (N,) is False; `titles` (N,) text.
    """

    interner: Interner
    scenario: npt.NDArray[np.int32]
    field_codes: npt.NDArray[np.int32]
    augmented: npt.NDArray[np.float32]
    has_knowledge: npt.NDArray[np.bool_]
    titles: npt.NDArray[np.object_]

    @property
    def absent(self) -> npt.NDArray[np.bool_]:
        """(N,) where the item is not stored."""
        absent: npt.NDArray[np.bool_] = self.scenario == ABSENT
        return absent

    def at(self, rows: npt.NDArray[np.intp] | slice) -> ItemRows:
        """Some of the rows; views where `rows` is a slice."""
        knowledge = self.augmented[rows], self.has_knowledge[rows]
        return ItemRows(self.interner, self.scenario[rows], self.field_codes[rows], *knowledge, self.titles[rows])

    def put(self, rows: npt.NDArray[np.intp], other: ItemRows) -> None:
        """Write another one's rows, in their order, in the place of some of these."""
        self.scenario[rows] = recoded(other.scenario, other.interner, self.interner)
        self.field_codes[rows] = recoded(other.field_codes, other.interner, self.interner)
        self.augmented[rows], self.has_knowledge[rows] = other.augmented, other.has_knowledge
        self.titles[rows] = other.titles


def recoded(codes: npt.NDArray[np.int32], given_by: Interner, wanted_of: Interner) -> npt.NDArray[np.int32]:
    """The codes that another interner gives to the same texts; ABSENT stays."""
    if given_by is wanted_of:
        return codes
    distinct, places = np.unique(codes, return_inverse=True)
    others = [code if code == ABSENT else wanted_of.code(given_by.values[code]) for code in distinct.tolist()]
    return np.array(others, dtype=np.int32)[places].reshape(codes.shape)


def no_vectors(rows: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(N, A) zeros, and (N,) False."""
    return np.zeros((rows, width), dtype=np.float32), np.zeros(rows, dtype=np.bool_)


def to_width(codes: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """(N, F) codes cut or filled with 0, the code of the unknown, to (N, width)."""
    missing = width - codes.shape[1]
    return codes[:, :width] if missing <= 0 else np.pad(codes, ((0, 0), (0, missing)))


def no_titles(rows: int) -> npt.NDArray[np.object_]:
    """(N,) empty texts."""
    return np.full(rows, "", dtype=object)


def grown(column: npt.NDArray[Scalar], rows: int, fill: int | str = 0) -> npt.NDArray[Scalar]:
    """(N, ...) with rows of `fill` at its end, to (rows, ...)."""
    more = np.full((rows - len(column), *column.shape[1:]), fill, dtype=column.dtype)
    return np.concatenate([column, more])
