"""Converts between the messages of loreline.features.v1 and plain types, loss-free both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from loreline.client.feature_types import ItemDescription, StoredSubject, UserDescription
from loreline.client.messages import (
    history_of,
    item_of,
    knowledge_message,
    knowledge_of,
    moment,
    timestamp,
    vector_bytes,
    vector_of,
)
from loreline.domain import KnowledgeVectors, PackedItem, PackedUser, Stamp
from loreline.features.v1 import features_pb2


def stamp_message(stamp: Stamp) -> features_pb2.EventStamp:
    """The contract's EventStamp of a plain one."""
    return features_pb2.EventStamp(event_id=stamp.event_id, event_time=timestamp(stamp.event_time))


def stamp_of(message: features_pb2.EventStamp) -> Stamp:
    """The plain Stamp of a contract's one."""
    return Stamp(message.event_id, moment(message.event_time))


def stored_subject_of(message: features_pb2.StoredSubject) -> StoredSubject:
    """The plain subject of a contract's one."""
    known = message.HasField("knowledge")
    return StoredSubject(
        subject_id=message.subject_id,
        item=item_of(message.item) if message.HasField("item") else None,
        event=stamp_of(message.event) if message.HasField("event") else None,
        knowledge=knowledge_of(message.knowledge) if known else None,
        knowledge_event=stamp_of(message.knowledge_event) if known else None,
        encoder=message.encoder,
        model_versions=list(message.model_versions),
    )


def knowledge_write(stamp: Stamp, item_id: str, vectors: KnowledgeVectors) -> features_pb2.ItemWrite:
    """The write of an item's knowledge."""
    knowledge = features_pb2.ItemKnowledge(
        item_id=item_id,
        knowledge=knowledge_message(vectors.knowledge),
        encoder=vectors.encoder,
        vector=vector_bytes(vectors.vector),
        model_version=vectors.model_version,
        augmented=b"" if vectors.augmented is None else vector_bytes(vectors.augmented),
    )
    return features_pb2.ItemWrite(event=stamp_message(stamp), knowledge=knowledge)


def pack_item(item: PackedItem) -> bytes:
    """The bytes under which an item is kept in the online store."""
    return _item_message(item).SerializeToString()


def unpack_item(data: bytes) -> PackedItem:
    """Reverse of pack_item. Raises google.protobuf.message.DecodeError."""
    return packed_item_of(features_pb2.PackedItem.FromString(data))


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
    return packed_user_of(features_pb2.PackedUser.FromString(data))


def _item_message(item: PackedItem) -> features_pb2.PackedItem:
    return features_pb2.PackedItem(
        item_id=item.item_id,
        scenario=item.scenario,
        field_values=item.field_values,
        augmented=_augmented_messages(item.augmented),
        deleted=item.deleted,
        title=item.title,
    )


def packed_item_of(message: features_pb2.PackedItem) -> PackedItem:
    """The plain item of a contract's one."""
    return PackedItem(
        item_id=message.item_id,
        scenario=message.scenario,
        field_values=list(message.field_values),
        augmented=_augmented_of(message.augmented),
        deleted=message.deleted,
        title=message.title,
    )


def packed_user_of(message: features_pb2.PackedUser) -> PackedUser:
    """The plain user of a contract's one."""
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


def outcome_of(code: features_pb2.WriteOutcome) -> str:
    """APPLIED, DUPLICATE, STALE or MISSING_CONTENT."""
    return features_pb2.WriteOutcome.Name(code).removeprefix("WRITE_OUTCOME_")


def status_of(code: features_pb2.FeatureStatus) -> str:
    """PRESENT, NOT_FOUND, NULL or TOO_OLD."""
    return features_pb2.FeatureStatus.Name(code).removeprefix("FEATURE_STATUS_")


def item_description_of(message: features_pb2.DescribeItemResponse) -> ItemDescription:
    """The plain description of a contract's one."""
    known = message.HasField("knowledge")
    return ItemDescription(
        item=item_of(message.item),
        content_event=stamp_of(message.content_event),
        content_stored_time=moment(message.content_stored_time),
        knowledge=knowledge_of(message.knowledge) if known else None,
        knowledge_stored_time=moment(message.knowledge_stored_time) if known else None,
        encoder=message.encoder,
        model_versions=list(message.model_versions),
        vector=vector_of(message.vector),
    )


def user_description_of(message: features_pb2.DescribeUserResponse) -> UserDescription:
    """The plain description of a contract's one."""
    known = message.HasField("knowledge")
    return UserDescription(
        user=history_of(message.user),
        history_event=stamp_of(message.history_event) if message.HasField("history_event") else None,
        interactions_since_knowledge=message.interactions_since_knowledge,
        knowledge=knowledge_of(message.knowledge) if known else None,
        knowledge_event=stamp_of(message.knowledge_event) if known else None,
        knowledge_stored_time=moment(message.knowledge_stored_time) if known else None,
        encoder=message.encoder,
        model_versions=list(message.model_versions),
        vector=vector_of(message.vector),
    )
