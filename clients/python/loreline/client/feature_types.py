"""The plain types of loreline.features.v1."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from loreline.domain import Item, Knowledge, PackedItem, PackedUser, Stamp, UserHistory


@dataclass(frozen=True)
class ItemBatch:
    """Items found, and ids of those missing."""

    items: list[PackedItem]
    missing_item_ids: list[str]


@dataclass(frozen=True)
class WatchBatch:
    """Changes in storing order, none in a sign of life; the last one's sequence in its epoch; whether all was sent.

    With `restarted` the stream begins with everything stored, and what the reader held before is void.
    """

    items: list[PackedItem]
    sequence: int
    caught_up: bool
    epoch: str
    restarted: bool = False


@dataclass(frozen=True)
class UserFeatures:
    """One user, and which features are there: PRESENT, NOT_FOUND, NULL or TOO_OLD."""

    user: PackedUser
    history_status: str
    knowledge_status: str


@dataclass(frozen=True)
class KnowledgePage:
    """Knowledge vectors float32 (N, K) of N subjects, all of one encoder, and what names the knowledge of each."""

    subject_ids: list[str]
    encoder: str
    vectors: npt.NDArray[np.float32]
    etags: list[str]


@dataclass(frozen=True)
class ItemDescription:
    """Everything stored for one item; `vector` is the knowledge vector (K,), empty without knowledge."""

    item: Item
    content_event: Stamp
    content_stored_time: datetime
    knowledge: Knowledge | None
    knowledge_stored_time: datetime | None
    encoder: str
    model_versions: list[str]
    vector: npt.NDArray[np.float32] = field(compare=False)  # an array has no single truth value


@dataclass(frozen=True)
class UserDescription:
    """What preference knowledge of a user is made of, and what there is. Stamps are None before their first event.

    `vector` is the knowledge vector (K,), empty without knowledge.
    """

    user: UserHistory  # entries with the items as they are stored now, oldest first
    history_event: Stamp | None
    interactions_since_knowledge: int
    knowledge: Knowledge | None
    knowledge_event: Stamp | None
    knowledge_stored_time: datetime | None
    encoder: str
    model_versions: list[str]
    vector: npt.NDArray[np.float32] = field(compare=False)  # an array has no single truth value


@dataclass(frozen=True)
class StoredSubject:
    """One stored item or user with its knowledge. `item` is None for users, `event` for users without history."""

    subject_id: str
    item: Item | None
    event: Stamp | None
    knowledge: Knowledge | None
    knowledge_event: Stamp | None
    encoder: str
    model_versions: list[str]
