"""Checks requests against the limits of loreline.features.v1 and turns them into plain values.

Every function raises InvalidRequest with the paths of all fields that break a limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf import timestamp_pb2

from loreline.client.messages import item_of, knowledge_of, moment, vector_of
from loreline.domain import (
    FIRST_SECOND,
    LAST_SECOND,
    Interaction,
    KnowledgeVectors,
    Stamp,
    Violation,
    check_id,
    check_item,
)
from loreline.features.v1 import features_pb2
from services.features.histories import MAX_HISTORY
from services.features.item_features import ContentWrite, ItemWrite, KnowledgeWrite, Removal
from services.features.ledger import Kind
from services.features.user_features import History
from services.runtime.errors import InvalidRequest
from services.scenarios import UnknownScenario, load_scenario

MAX_ITEMS_READ = 10_000
MAX_WRITES = 1_000
MAX_KEPT_VERSIONS = 8
IN_CALENDAR = "must lie in the years 1 to 9999"
MAX_RATING = float(np.finfo(np.float32).max)
KINDS: dict[features_pb2.Subject, Kind] = {features_pb2.SUBJECT_ITEM: "item", features_pb2.SUBJECT_USER: "user"}


@dataclass(frozen=True)
class UserWrite:
    """One user's write: a history, or preference knowledge."""

    user_id: str
    stamp: Stamp
    value: History | KnowledgeVectors


def one_id(field: str, value: str) -> str:
    """The id, when it is one."""
    _refuse(check_id(field, value))
    return value


def item_ids(request: features_pb2.GetItemsRequest) -> list[str]:
    """The ids to read."""
    _refuse(_count("item_ids", len(request.item_ids), MAX_ITEMS_READ))
    _refuse(wrong for n, value in enumerate(request.item_ids) for wrong in check_id(f"item_ids[{n}]", value))
    return list(request.item_ids)


def item_writes(request: features_pb2.PutItemsRequest) -> list[ItemWrite]:
    """The writes, in order."""
    _refuse(_count("writes", len(request.writes), MAX_WRITES))
    _refuse(wrong for n, write in enumerate(request.writes) for wrong in _check_write(f"writes[{n}]", write))
    return [_item_write(write) for write in request.writes]


def user_write(request: features_pb2.PutUserRequest) -> UserWrite:
    """The user's write."""
    _refuse(_check_user_write(request))
    return UserWrite(request.user_id, _stamp(request.event), _user_value(request))


def interactions(request: features_pb2.AppendInteractionsRequest) -> list[Interaction]:
    """The interactions, in order."""
    _refuse(_count("interactions", len(request.interactions), MAX_WRITES))
    _refuse(w for n, one in enumerate(request.interactions) for w in _check_interaction(f"interactions[{n}]", one))
    return [_interaction(one) for one in request.interactions]


def most_entries(request: features_pb2.DescribeUserRequest) -> int:
    """How many entries of the history to return; 0 means all."""
    if request.most_entries > MAX_HISTORY:
        raise InvalidRequest(
            [("most_entries", f"must be 1 to {MAX_HISTORY}, or 0 for all, got {request.most_entries}")]
        )
    return request.most_entries


def augmented_vectors(request: features_pb2.PutAugmentedRequest) -> npt.NDArray[np.float32]:
    """The (N, A) float32 vectors, one for each subject id."""
    ids = request.subject_ids
    _refuse(_count("subject_ids", len(ids), MAX_WRITES))
    if len(set(ids)) != len(ids):
        raise InvalidRequest([("subject_ids", "must be unique")])
    if len(request.etags) != len(ids):
        rule = (
            f"must hold one for each of the {len(ids)} subjects, as ListKnowledge gave them, got {len(request.etags)}"
        )
        raise InvalidRequest([("etags", rule)])
    if not request.model_version:
        raise InvalidRequest([("model_version", "must name the version whose adaptor made the vectors")])
    if len(request.kept_versions) > MAX_KEPT_VERSIONS:
        raise InvalidRequest([("kept_versions", f"must hold at most {MAX_KEPT_VERSIONS} versions")])
    if not request.dimension or len(request.vectors) != len(ids) * request.dimension:
        raise InvalidRequest([("vectors", f"must hold {len(ids)} x {request.dimension} numbers, dimension at least 1")])
    vectors = np.array(request.vectors, dtype=np.float32).reshape(len(ids), -1)
    if not np.isfinite(vectors).all():
        raise InvalidRequest([("vectors", "must be finite numbers, not NaN or infinity")])
    return vectors


def listing(request: features_pb2.ListSubjectsRequest) -> tuple[Kind, str, str]:
    """The kind of subject, the id to start after and the scenario; both may be empty."""
    kind = subject(request.subject)
    if request.after_id:
        _refuse(check_id("after_id", request.after_id))
    if request.scenario:
        _refuse(_check_scenario("scenario", request.scenario))
    return kind, request.after_id, request.scenario


def watched_from(request: features_pb2.WatchRequest, epoch: str, newest: int) -> tuple[int, bool]:
    """The sequence number to start after, and whether that is a start with everything stored."""
    after = request.after_sequence
    if after and not request.epoch:
        raise InvalidRequest([("epoch", "must be given with after_sequence")])
    if after == 0 or request.epoch != epoch:
        return 0, True
    if after > newest:
        raise InvalidRequest([("after_sequence", f"must be at most {newest}, the newest of its epoch, got {after}")])
    return after, False


def subject(code: features_pb2.Subject) -> Kind:
    """The kind of subject."""
    if code not in KINDS:
        raise InvalidRequest([("subject", "must be SUBJECT_ITEM or SUBJECT_USER")])
    return KINDS[code]


def _check_write(path: str, write: features_pb2.ItemWrite) -> Iterator[Violation]:
    yield from _check_stamp(f"{path}.event", write.HasField("event"), write.event)
    match write.WhichOneof("write"):
        case "content":
            item = item_of(write.content)
            yield from check_item(item, f"{path}.content")
            yield from _check_scenario(f"{path}.content.scenario", item.scenario)
        case "knowledge":
            yield from check_id(f"{path}.knowledge.item_id", write.knowledge.item_id)
            yield from _check_knowledge(f"{path}.knowledge", write.knowledge)
        case "removed_item_id":
            yield from check_id(f"{path}.removed_item_id", write.removed_item_id)
        case _:
            yield f"{path}.write", "must be content, knowledge or removed_item_id"


def _check_user_write(request: features_pb2.PutUserRequest) -> Iterator[Violation]:
    yield from check_id("user_id", request.user_id)
    yield from _check_stamp("event", request.HasField("event"), request.event)
    match request.WhichOneof("write"):
        case "history":
            yield from _check_history(request.history)
        case "knowledge":
            yield from _check_knowledge("knowledge", request.knowledge)
        case _:
            yield "write", "must be history or knowledge"


def _check_interaction(path: str, one: features_pb2.Interaction) -> Iterator[Violation]:
    yield from _check_stamp(f"{path}.event", one.HasField("event"), one.event)
    yield from check_id(f"{path}.user_id", one.user_id)
    yield from check_id(f"{path}.item_id", one.item_id)
    yield from _check_scenario(f"{path}.scenario", one.scenario)
    if not abs(one.rating) <= MAX_RATING:  # NaN compares to nothing
        yield f"{path}.rating", "must be a finite number that float32 can hold"


def _check_history(history: features_pb2.UserHistoryFeatures) -> Iterator[Violation]:
    if not len(history.item_ids) == len(history.ratings) == len(history.times):
        yield "history", "item_ids, ratings and times must have one length"
    if len(history.item_ids) > MAX_HISTORY:
        yield "history.item_ids", f"must have at most {MAX_HISTORY} entries"
    for n, item_id in enumerate(history.item_ids):
        yield from check_id(f"history.item_ids[{n}]", item_id)
    if any(later < earlier for earlier, later in itertools.pairwise(history.times)):
        yield "history.times", "must be in order, oldest first"
    if not all(FIRST_SECOND <= time <= LAST_SECOND for time in (*history.times[:1], *history.times[-1:])):
        yield "history.times", IN_CALENDAR
    if not np.isfinite(history.ratings).all():
        yield "history.ratings", "must be finite numbers, not NaN or infinity"


def _check_knowledge(
    path: str, knowledge: features_pb2.ItemKnowledge | features_pb2.UserKnowledge
) -> Iterator[Violation]:
    if not knowledge.knowledge.text:
        yield f"{path}.knowledge.text", "must not be empty"
    yield from _check_time(f"{path}.knowledge.provenance.created_time", knowledge.knowledge.provenance.created_time)
    if not knowledge.encoder:
        yield f"{path}.encoder", "must name the encoder of vector"
    yield from _check_vector(f"{path}.vector", knowledge.vector)
    if bool(knowledge.model_version) != bool(knowledge.augmented):
        yield f"{path}.augmented", "must be set together with model_version, or neither"
    elif knowledge.augmented:
        yield from _check_vector(f"{path}.augmented", knowledge.augmented)


def _check_vector(path: str, data: bytes) -> Iterator[Violation]:
    if not data or len(data) % 4:
        yield path, "must be little-endian float32 numbers, 4 bytes each, at least one"
    elif not np.isfinite(vector_of(data)).all():
        yield path, "must be finite numbers, not NaN or infinity"


def _check_stamp(path: str, given: bool, stamp: features_pb2.EventStamp) -> Iterator[Violation]:
    if not given:
        yield path, "must be set"
        return
    yield from check_id(f"{path}.event_id", stamp.event_id)
    if not stamp.HasField("event_time"):
        yield f"{path}.event_time", "must be set"
        return
    yield from _check_time(f"{path}.event_time", stamp.event_time)


def _check_time(path: str, time: timestamp_pb2.Timestamp) -> Iterator[Violation]:
    try:
        moment(time)
    except (ValueError, OverflowError):  # protobuf takes any number of seconds, a calendar does not
        yield path, IN_CALENDAR


def _check_scenario(path: str, name: str) -> Iterator[Violation]:
    try:
        load_scenario(name)
    except UnknownScenario as error:
        yield path, str(error)


def _count(field: str, length: int, most: int) -> Iterator[Violation]:
    if not 1 <= length <= most:
        yield field, f"must have 1 to {most:,} entries, got {length:,}"


def _refuse(violations: Iterator[Violation]) -> None:
    found = list(violations)
    if found:
        raise InvalidRequest(found)


def _item_write(write: features_pb2.ItemWrite) -> ItemWrite:
    stamp = _stamp(write.event)
    match write.WhichOneof("write"):
        case "content":
            return ContentWrite(stamp, item_of(write.content))
        case "knowledge":
            return KnowledgeWrite(stamp, write.knowledge.item_id, _vectors(write.knowledge))
        case _:
            return Removal(stamp, write.removed_item_id)


def _interaction(one: features_pb2.Interaction) -> Interaction:
    rating = one.rating if one.HasField("rating") else None
    return Interaction(_stamp(one.event), one.user_id, one.item_id, one.scenario, rating)


def _user_value(request: features_pb2.PutUserRequest) -> History | KnowledgeVectors:
    if request.WhichOneof("write") == "knowledge":
        return _vectors(request.knowledge)
    history = request.history
    return History(list(history.item_ids), list(history.ratings), list(history.times))


def _vectors(message: features_pb2.ItemKnowledge | features_pb2.UserKnowledge) -> KnowledgeVectors:
    return KnowledgeVectors(
        knowledge=knowledge_of(message.knowledge),
        encoder=message.encoder,
        vector=vector_of(message.vector),
        model_version=message.model_version,
        augmented=vector_of(message.augmented) if message.augmented else None,
    )


def _stamp(message: features_pb2.EventStamp) -> Stamp:
    return Stamp(message.event_id, moment(message.event_time))
