"""Client of loreline.features.v1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client.channel import Client
from loreline.client.errors import client_errors
from loreline.client.messages import (
    item_message,
    item_of,
    knowledge_message,
    knowledge_of,
    moment,
    timestamp,
    vector_bytes,
    vector_of,
)
from loreline.features.v1 import features_pb2, features_pb2_grpc
from services.scenarios import Item, Knowledge

_SUBJECTS: dict[str, features_pb2.Subject] = {"item": features_pb2.SUBJECT_ITEM, "user": features_pb2.SUBJECT_USER}


@dataclass(frozen=True)
class Stamp:
    """The event that causes a write: its id, and its time as an aware datetime."""

    event_id: str
    event_time: datetime


@dataclass(frozen=True)
class PackedItem:
    """All that a scorer needs of one item. `augmented` holds a float32 (A,) by model version, oldest version first."""

    item_id: str
    scenario: str
    field_values: list[str]
    augmented: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class PackedUser:
    """All that a scorer needs of one user: history columns of length L, oldest first, and `augmented` as PackedItem."""

    user_id: str
    item_ids: list[str] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)  # 0 = none given
    times: list[int] = field(default_factory=list)  # seconds since 1970-01-01 UTC
    augmented: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemBatch:
    """Items found, and ids of those missing."""

    items: list[PackedItem]
    missing_item_ids: list[str]


@dataclass(frozen=True)
class WatchBatch:
    """Changes in storing order, the last one's sequence, and whether all that is stored was sent."""

    items: list[PackedItem]
    sequence: int
    caught_up: bool


@dataclass(frozen=True)
class UserFeatures:
    """One user, and which features are there: PRESENT, NOT_FOUND, NULL or TOO_OLD."""

    user: PackedUser
    history_status: str
    knowledge_status: str


@dataclass(frozen=True)
class KnowledgePage:
    """Knowledge vectors float32 (N, K) of N subjects, all of one encoder."""

    subject_ids: list[str]
    encoder: str
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class KnowledgeVectors:
    """Knowledge with its vectors, as features stores them. `augmented` is None before any promotion."""

    knowledge: Knowledge
    encoder: str
    vector: npt.NDArray[np.float32]  # (K,)
    model_version: str
    augmented: npt.NDArray[np.float32] | None  # (A,)


@dataclass(frozen=True)
class ItemDescription:
    """Everything stored for one item."""

    item: Item
    content_event: Stamp
    content_stored_time: datetime
    knowledge: Knowledge | None
    knowledge_stored_time: datetime | None
    encoder: str
    model_versions: list[str]


class FeaturesClient(Client):
    """Asks the features service. `timeout_seconds` bounds one call (not a watch)."""

    def __init__(self, address: str, timeout_seconds: float = 30.0) -> None:
        super().__init__(address, timeout_seconds)
        self._stub = features_pb2_grpc.FeaturesServiceStub(self._channel)

    def items(self, item_ids: Sequence[str]) -> ItemBatch:
        """Packed features of 1 to 10,000 items. Raises ClientError."""
        with client_errors():
            request = features_pb2.GetItemsRequest(item_ids=item_ids)
            response = self._stub.GetItems(request, timeout=self.timeout_seconds)
        return ItemBatch([_item_of(item) for item in response.items], list(response.missing_item_ids))

    def user(self, user_id: str) -> UserFeatures:
        """One user's features; an unknown user has empty ones and says NOT_FOUND. Raises ClientError."""
        with client_errors():
            response = self._stub.GetUser(features_pb2.GetUserRequest(user_id=user_id), timeout=self.timeout_seconds)
        return UserFeatures(
            _user_of(response.user), _status(response.history_status), _status(response.knowledge_status)
        )

    def describe_item(self, item_id: str) -> ItemDescription:
        """Everything stored for one item. Raises NotFoundError, ClientError."""
        with client_errors():
            request = features_pb2.DescribeItemRequest(item_id=item_id)
            response = self._stub.DescribeItem(request, timeout=self.timeout_seconds)
        known = response.HasField("knowledge")
        return ItemDescription(
            item=item_of(response.item),
            content_event=Stamp(response.content_event.event_id, moment(response.content_event.event_time)),
            content_stored_time=moment(response.content_stored_time),
            knowledge=knowledge_of(response.knowledge) if known else None,
            knowledge_stored_time=moment(response.knowledge_stored_time) if known else None,
            encoder=response.encoder,
            model_versions=list(response.model_versions),
        )

    def put_contents(self, contents: Sequence[tuple[Stamp, Item]]) -> list[str]:
        """Store the content of 1 to 1,000 items; returns an outcome for each: APPLIED, DUPLICATE or STALE."""
        return self._put(
            [features_pb2.ItemWrite(event=_stamp(stamp), content=item_message(item)) for stamp, item in contents]
        )

    def put_knowledge(self, writes: Sequence[tuple[Stamp, str, KnowledgeVectors]]) -> list[str]:
        """Store (event, item id, knowledge); outcomes as put_contents, or MISSING_CONTENT. Raises ClientError."""
        return self._put([_knowledge_write(*write) for write in writes])

    def remove_items(self, removals: Sequence[tuple[Stamp, str]]) -> list[str]:
        """Delete items, leaving tombstones; outcomes as put_contents. Raises ClientError."""
        return self._put(
            [features_pb2.ItemWrite(event=_stamp(stamp), removed_item_id=item_id) for stamp, item_id in removals]
        )

    def put_user_history(
        self, user_id: str, stamp: Stamp, item_ids: Sequence[str], ratings: Sequence[float], times: Sequence[int]
    ) -> str:
        """Store a user's whole bounded history, oldest first; returns the outcome. Raises ClientError."""
        history = features_pb2.UserHistoryFeatures(item_ids=item_ids, ratings=ratings, times=times)
        return self._put_user(features_pb2.PutUserRequest(user_id=user_id, event=_stamp(stamp), history=history))

    def put_user_knowledge(self, user_id: str, stamp: Stamp, vectors: KnowledgeVectors) -> str:
        """Store a user's preference knowledge; returns the outcome. Raises ClientError."""
        knowledge = features_pb2.UserKnowledge(
            knowledge=knowledge_message(vectors.knowledge),
            encoder=vectors.encoder,
            vector=vector_bytes(vectors.vector),
            model_version=vectors.model_version,
            augmented=b"" if vectors.augmented is None else vector_bytes(vectors.augmented),
        )
        return self._put_user(features_pb2.PutUserRequest(user_id=user_id, event=_stamp(stamp), knowledge=knowledge))

    def knowledge_vectors(self, subject: Literal["item", "user"], lacking_version: str = "") -> Iterator[KnowledgePage]:
        """Yield stored knowledge vectors, of all or of those without a version's augmented vector."""
        request = features_pb2.ListKnowledgeRequest(subject=_SUBJECTS[subject], lacking_model_version=lacking_version)
        with client_errors():
            for page in self._stub.ListKnowledge(request):
                ids = list(page.subject_ids)
                vectors = np.array(page.vectors, dtype=np.float32).reshape(len(ids), page.dimension)
                yield KnowledgePage(ids, page.encoder, vectors)

    def put_augmented(
        self,
        subject: Literal["item", "user"],
        model_version: str,
        subject_ids: Sequence[str],
        vectors: npt.NDArray[np.float32],
        serving_version: str = "",
    ) -> int:
        """Store (N, A) augmented vectors of one model version; returns how many were stored.

        The vectors of `serving_version` stay beside them, whatever was promoted before. Raises ClientError.
        """
        request = features_pb2.PutAugmentedRequest(
            subject=_SUBJECTS[subject],
            model_version=model_version,
            subject_ids=subject_ids,
            dimension=vectors.shape[1],
            vectors=vectors.ravel(),
            serving_version=serving_version,
        )
        with client_errors():
            return int(self._stub.PutAugmented(request, timeout=self.timeout_seconds).stored)

    def watch(self, after_sequence: int = 0) -> Iterator[WatchBatch]:
        """Yield stored items after a sequence number, then changes, without end. Raises ClientError when cut off."""
        with client_errors():
            for response in self._stub.Watch(features_pb2.WatchRequest(after_sequence=after_sequence)):
                yield WatchBatch([_item_of(item) for item in response.items], response.sequence, response.caught_up)

    def _put(self, writes: list[features_pb2.ItemWrite]) -> list[str]:
        with client_errors():
            request = features_pb2.PutItemsRequest(writes=writes)
            response = self._stub.PutItems(request, timeout=self.timeout_seconds)
        return [_outcome(outcome) for outcome in response.outcomes]

    def _put_user(self, request: features_pb2.PutUserRequest) -> str:
        with client_errors():
            return _outcome(self._stub.PutUser(request, timeout=self.timeout_seconds).outcome)


def _stamp(stamp: Stamp) -> features_pb2.EventStamp:
    return features_pb2.EventStamp(event_id=stamp.event_id, event_time=timestamp(stamp.event_time))


def _knowledge_write(stamp: Stamp, item_id: str, vectors: KnowledgeVectors) -> features_pb2.ItemWrite:
    knowledge = features_pb2.ItemKnowledge(
        item_id=item_id,
        knowledge=knowledge_message(vectors.knowledge),
        encoder=vectors.encoder,
        vector=vector_bytes(vectors.vector),
        model_version=vectors.model_version,
        augmented=b"" if vectors.augmented is None else vector_bytes(vectors.augmented),
    )
    return features_pb2.ItemWrite(event=_stamp(stamp), knowledge=knowledge)


def pack_item(item: PackedItem) -> bytes:
    """The bytes under which an item is kept in the online store."""
    return _item_message(item).SerializeToString()


def unpack_item(data: bytes) -> PackedItem:
    """Reverse of pack_item. Raises google.protobuf.message.DecodeError."""
    return _item_of(features_pb2.PackedItem.FromString(data))


def pack_user(user: PackedUser) -> bytes:
    """The bytes under which a user is kept in the online store."""
    return features_pb2.PackedUser(
        user_id=user.user_id,
        history_item_ids=user.item_ids,
        history_ratings=user.ratings,
        history_times=user.times,
        augmented=_augmented_messages(user.augmented),
    ).SerializeToString()


def unpack_user(data: bytes) -> PackedUser:
    """Reverse of pack_user. Raises google.protobuf.message.DecodeError."""
    return _user_of(features_pb2.PackedUser.FromString(data))


def _item_message(item: PackedItem) -> features_pb2.PackedItem:
    return features_pb2.PackedItem(
        item_id=item.item_id,
        scenario=item.scenario,
        field_values=item.field_values,
        augmented=_augmented_messages(item.augmented),
        deleted=item.deleted,
    )


def _item_of(message: features_pb2.PackedItem) -> PackedItem:
    return PackedItem(
        item_id=message.item_id,
        scenario=message.scenario,
        field_values=list(message.field_values),
        augmented=_augmented_of(message.augmented),
        deleted=message.deleted,
    )


def _user_of(message: features_pb2.PackedUser) -> PackedUser:
    return PackedUser(
        user_id=message.user_id,
        item_ids=list(message.history_item_ids),
        ratings=list(message.history_ratings),
        times=list(message.history_times),
        augmented=_augmented_of(message.augmented),
    )


def _augmented_messages(vectors: Mapping[str, npt.NDArray[np.float32]]) -> list[features_pb2.AugmentedVector]:
    return [
        features_pb2.AugmentedVector(model_version=version, values=vector_bytes(vector))
        for version, vector in vectors.items()
    ]


def _augmented_of(messages: Iterable[features_pb2.AugmentedVector]) -> dict[str, npt.NDArray[np.float32]]:
    return {message.model_version: vector_of(message.values) for message in messages}


def _outcome(code: features_pb2.WriteOutcome) -> str:
    return features_pb2.WriteOutcome.Name(code).removeprefix("WRITE_OUTCOME_")


def _status(code: features_pb2.FeatureStatus) -> str:
    return features_pb2.FeatureStatus.Name(code).removeprefix("FEATURE_STATUS_")
