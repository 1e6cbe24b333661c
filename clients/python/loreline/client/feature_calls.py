"""The calls of loreline.features.v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client.calls import Call, StreamCall
from loreline.client.feature_messages import (
    item_description_of,
    knowledge_write,
    outcome_of,
    packed_item_of,
    packed_user_of,
    stamp_message,
    status_of,
    stored_subject_of,
    user_description_of,
)
from loreline.client.feature_types import (
    ItemBatch,
    ItemDescription,
    KnowledgePage,
    StoredSubject,
    UserDescription,
    UserFeatures,
    WatchBatch,
)
from loreline.client.messages import item_message, knowledge_message, vector_bytes
from loreline.domain import Interaction, Item, KnowledgeVectors, Stamp
from loreline.features.v1 import features_pb2

_SUBJECTS: dict[str, features_pb2.Subject] = {"item": features_pb2.SUBJECT_ITEM, "user": features_pb2.SUBJECT_USER}


def items(item_ids: Sequence[str]) -> Call[ItemBatch]:
    """Packed features of 1 to 10,000 items. Raises ClientError."""

    def read(response: features_pb2.GetItemsResponse) -> ItemBatch:
        return ItemBatch([packed_item_of(item) for item in response.items], list(response.missing_item_ids))

    return Call("GetItems", features_pb2.GetItemsRequest(item_ids=item_ids), read, is_read=True)


def user(user_id: str) -> Call[UserFeatures]:
    """One user's features; an unknown user has empty ones and says NOT_FOUND. Raises ClientError."""

    def read(response: features_pb2.GetUserResponse) -> UserFeatures:
        statuses = status_of(response.history_status), status_of(response.knowledge_status)
        return UserFeatures(packed_user_of(response.user), *statuses)

    return Call("GetUser", features_pb2.GetUserRequest(user_id=user_id), read, is_read=True)


def describe_item(item_id: str) -> Call[ItemDescription]:
    """Everything stored for one item. Raises NotFoundError, ClientError."""
    request = features_pb2.DescribeItemRequest(item_id=item_id)
    return Call("DescribeItem", request, item_description_of, is_read=True)


def describe_user(user_id: str, most_entries: int = 0) -> Call[UserDescription]:
    """The newest 1 to 512 interactions (0: all) and what is known. Raises NotFoundError, ClientError."""
    request = features_pb2.DescribeUserRequest(user_id=user_id, most_entries=most_entries)
    return Call("DescribeUser", request, user_description_of, is_read=True)


def put_contents(contents: Sequence[tuple[Stamp, Item]]) -> Call[list[str]]:
    """Store the content of 1 to 1,000 items; returns an outcome for each: APPLIED, DUPLICATE or STALE."""
    return _put_items(
        [features_pb2.ItemWrite(event=stamp_message(stamp), content=item_message(item)) for stamp, item in contents]
    )


def put_knowledge(writes: Sequence[tuple[Stamp, str, KnowledgeVectors]]) -> Call[list[str]]:
    """Store (event, item id, knowledge); outcomes as put_contents, or MISSING_CONTENT. Raises ClientError."""
    return _put_items([knowledge_write(*write) for write in writes])


def remove_items(removals: Sequence[tuple[Stamp, str]]) -> Call[list[str]]:
    """Delete items, leaving tombstones; outcomes as put_contents. Raises ClientError."""
    return _put_items(
        [features_pb2.ItemWrite(event=stamp_message(stamp), removed_item_id=item_id) for stamp, item_id in removals]
    )


def put_user_history(
    user_id: str, stamp: Stamp, item_ids: Sequence[str], ratings: Sequence[float], times: Sequence[int]
) -> Call[str]:
    """Store a user's whole bounded history, oldest first; returns the outcome. Raises ClientError."""
    history = features_pb2.UserHistoryFeatures(item_ids=item_ids, ratings=ratings, times=times)
    return _put_user(features_pb2.PutUserRequest(user_id=user_id, event=stamp_message(stamp), history=history))


def put_user_knowledge(user_id: str, stamp: Stamp, vectors: KnowledgeVectors) -> Call[str]:
    """Store a user's preference knowledge; returns the outcome. Raises ClientError."""
    knowledge = features_pb2.UserKnowledge(
        knowledge=knowledge_message(vectors.knowledge),
        encoder=vectors.encoder,
        vector=vector_bytes(vectors.vector),
        model_version=vectors.model_version,
        augmented=b"" if vectors.augmented is None else vector_bytes(vectors.augmented),
    )
    return _put_user(features_pb2.PutUserRequest(user_id=user_id, event=stamp_message(stamp), knowledge=knowledge))


def append_interactions(interactions: Sequence[Interaction]) -> Call[list[str]]:
    """Add 1 to 1,000 interactions; an outcome each: APPLIED, DUPLICATE or STALE. Raises ClientError."""
    request = features_pb2.AppendInteractionsRequest(
        interactions=[
            features_pb2.Interaction(
                event=stamp_message(one.stamp),
                user_id=one.user_id,
                item_id=one.item_id,
                scenario=one.scenario,
                rating=one.rating,
            )
            for one in interactions
        ]
    )
    return Call("AppendInteractions", request, _outcomes_of)


def put_augmented(
    subject: Literal["item", "user"],
    model_version: str,
    subject_ids: Sequence[str],
    etags: Sequence[str],
    vectors: npt.NDArray[np.float32],
    serving_version: str = "",
    kept_versions: Sequence[str] = (),
) -> Call[int]:
    """Store (N, A) augmented vectors of one model version; returns how many were stored.

    `etags` name what each was made from, as knowledge_vectors gave them: a subject that has other knowledge by now is
    passed over.

    The vectors of `serving_version` stay beside them, whatever was promoted before, and so do those of
    `kept_versions`, at most 8, of other kinds. Raises ClientError.
    """
    request = features_pb2.PutAugmentedRequest(
        subject=_SUBJECTS[subject],
        model_version=model_version,
        subject_ids=subject_ids,
        dimension=vectors.shape[1],
        vectors=vectors.ravel(),
        serving_version=serving_version,
        kept_versions=kept_versions,
        etags=etags,
    )
    return Call("PutAugmented", request, lambda response: int(response.stored))


def subjects(
    subject: Literal["item", "user"], after_id: str = "", scenario: str = ""
) -> StreamCall[list[StoredSubject]]:
    """Yield pages of stored items or users in the order of their ids, after one of them. Raises ClientError."""
    request = features_pb2.ListSubjectsRequest(subject=_SUBJECTS[subject], after_id=after_id, scenario=scenario)

    def read(page: features_pb2.ListSubjectsResponse) -> list[StoredSubject]:
        return [stored_subject_of(one) for one in page.subjects]

    return StreamCall("ListSubjects", request, read, endless=True)


def knowledge_vectors(subject: Literal["item", "user"], lacking_version: str = "") -> StreamCall[KnowledgePage]:
    """Yield stored knowledge vectors, of all or of those without a version's augmented vector."""
    request = features_pb2.ListKnowledgeRequest(subject=_SUBJECTS[subject], lacking_model_version=lacking_version)

    def read(page: features_pb2.ListKnowledgeResponse) -> KnowledgePage:
        ids = list(page.subject_ids)
        vectors = np.array(page.vectors, dtype=np.float32).reshape(len(ids), page.dimension)
        return KnowledgePage(ids, page.encoder, vectors, list(page.etags))

    return StreamCall("ListKnowledge", request, read, endless=True)


def watch(after_sequence: int = 0, epoch: str = "") -> StreamCall[WatchBatch]:
    """Yield stored items after a sequence number of an epoch, then changes, without end.

    A batch without items comes at least every half second: a reader that hears nothing for longer is behind. Raises
    InvalidArgumentError for a sequence number that the epoch has not reached: start with 0 then; ClientError when cut
    off.
    """

    def read(response: features_pb2.WatchResponse) -> WatchBatch:
        changed = [packed_item_of(item) for item in response.items]
        return WatchBatch(changed, response.sequence, response.caught_up, response.epoch, response.restarted)

    request = features_pb2.WatchRequest(after_sequence=after_sequence, epoch=epoch)
    return StreamCall("Watch", request, read, endless=True)


def _put_items(writes: list[features_pb2.ItemWrite]) -> Call[list[str]]:
    return Call("PutItems", features_pb2.PutItemsRequest(writes=writes), _outcomes_of)


def _put_user(request: features_pb2.PutUserRequest) -> Call[str]:
    return Call("PutUser", request, lambda response: outcome_of(response.outcome))


def _outcomes_of(response: features_pb2.PutItemsResponse | features_pb2.AppendInteractionsResponse) -> list[str]:
    return [outcome_of(outcome) for outcome in response.outcomes]
