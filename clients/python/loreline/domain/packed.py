"""What a scorer needs of one item or user: the form in which features are stored and sent.

Its bytes are the messages PackedItem and PackedUser of loreline.features.v1 (loreline.client.feature_messages).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PackedItem:
    """All that a scorer needs of one item. `augmented` holds a float32 (A,) by model version, oldest version first."""

    item_id: str
    scenario: str
    field_values: list[str]
    augmented: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    deleted: bool = False
    title: str = ""  # empty in what was stored before titles were packed


@dataclass(frozen=True)
class PackedUser:
    """All that a scorer needs of one user: history columns of length L, oldest first, and `augmented` as PackedItem."""

    user_id: str
    item_ids: list[str] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)  # 0 = none given
    times: list[int] = field(default_factory=list)  # seconds since 1970-01-01 UTC
    augmented: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
