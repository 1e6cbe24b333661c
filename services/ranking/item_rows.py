"""Columns of items' features: what the cache hands out, and how its arrays are widened and grown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

ABSENT = -1  # scenario code of an item that is not stored
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class ItemRows:
    """Features of N items, in the order asked, as one model version sees their knowledge.

    `scenario` (N,) int32 codes, ABSENT where the item is not stored; `field_codes` (N, F) int32; `augmented` (N, A)
    float32, zeros where `has_knowledge` (N,) is False; `titles` (N,) text.
    """

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
        return ItemRows(self.scenario[rows], self.field_codes[rows], *knowledge, self.titles[rows])

    def put(self, rows: npt.NDArray[np.intp], other: ItemRows) -> None:
        """Write another one's rows, in their order, in the place of some of these."""
        self.scenario[rows], self.field_codes[rows] = other.scenario, other.field_codes
        self.augmented[rows], self.has_knowledge[rows] = other.augmented, other.has_knowledge
        self.titles[rows] = other.titles


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
