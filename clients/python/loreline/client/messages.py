"""Converts between contract messages and the plain types of services.scenarios, loss-free both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from google.protobuf import timestamp_pb2

from loreline.catalog.v1 import catalog_pb2
from loreline.domain import AttributeValue, Cluster, HistoryEntry, Item, Knowledge, Provenance, UserHistory
from loreline.knowledge.v1 import knowledge_pb2

_FINISH = {
    knowledge_pb2.FINISH_REASON_UNSPECIFIED: "",
    knowledge_pb2.FINISH_REASON_STOP: "stop",
    knowledge_pb2.FINISH_REASON_LENGTH: "length",
}
_FINISH_CODE = {word: code for code, word in _FINISH.items()}
_CLUSTER_KIND: dict[int, str] = {
    knowledge_pb2.CLUSTER_KIND_UNSPECIFIED: "",
    knowledge_pb2.CLUSTER_KIND_ITEM: "item",
    knowledge_pb2.CLUSTER_KIND_USER: "user",
}
_CLUSTER_KIND_CODE: dict[str, knowledge_pb2.ClusterKind] = {
    "": knowledge_pb2.CLUSTER_KIND_UNSPECIFIED,
    "item": knowledge_pb2.CLUSTER_KIND_ITEM,
    "user": knowledge_pb2.CLUSTER_KIND_USER,
}
_SUBJECT_CODE: dict[str, knowledge_pb2.KnowledgeSubject] = {
    "item": knowledge_pb2.KNOWLEDGE_SUBJECT_ITEM,
    "user": knowledge_pb2.KNOWLEDGE_SUBJECT_USER,
}
_SUBJECT: dict[int, str] = {
    knowledge_pb2.KNOWLEDGE_SUBJECT_UNSPECIFIED: "",
    **{code: name for name, code in _SUBJECT_CODE.items()},
}


@dataclass(frozen=True)
class Record:
    """One answer about an item or user (`subject`: item or user), as the knowledge topic keeps it."""

    subject: str
    subject_id: str
    knowledge: Knowledge
    event_id: str
    event_time: datetime


def timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    """A Timestamp of an aware datetime."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: timestamp_pb2.Timestamp) -> datetime:
    """An aware UTC datetime of a Timestamp."""
    return message.ToDatetime(tzinfo=UTC)


def vector_bytes(vector: npt.ArrayLike) -> bytes:
    """Little-endian float32 bytes of a vector."""
    return np.asarray(vector, dtype="<f4").tobytes()


def vector_of(data: bytes) -> npt.NDArray[np.float32]:
    """The (K,) float32 vector of little-endian bytes; (0,) for none."""
    return np.frombuffer(data, dtype="<f4")


def attributes_message(attributes: Mapping[str, AttributeValue]) -> dict[str, catalog_pb2.AttributeValue]:
    """Attributes as contract values; None becomes an unset value."""
    return {name: _attribute_message(value) for name, value in attributes.items()}


def _attribute_message(value: AttributeValue) -> catalog_pb2.AttributeValue:
    if value is None:
        return catalog_pb2.AttributeValue()
    if isinstance(value, str):
        return catalog_pb2.AttributeValue(text=value)
    if isinstance(value, list):
        return catalog_pb2.AttributeValue(texts=catalog_pb2.TextList(values=value))
    return catalog_pb2.AttributeValue(number=value)


def attributes_of(message: Mapping[str, catalog_pb2.AttributeValue]) -> dict[str, AttributeValue]:
    """Plain attributes of contract values, sorted by name because a proto map has no order."""
    return {name: _attribute_of(message[name]) for name in sorted(message)}


def _attribute_of(value: catalog_pb2.AttributeValue) -> AttributeValue:
    match value.WhichOneof("kind"):
        case "text":
            return value.text
        case "number":
            return value.number
        case "texts":
            return list(value.texts.values)
        case _:
            return None


def item_message(item: Item) -> catalog_pb2.Item:
    """The contract's Item of a plain one."""
    return catalog_pb2.Item(
        item_id=item.item_id,
        scenario=item.scenario,
        title=item.title,
        attributes=attributes_message(item.attributes),
    )


def item_of(message: catalog_pb2.Item) -> Item:
    """The plain Item of a contract's one."""
    return Item(message.item_id, message.scenario, message.title, attributes_of(message.attributes))


def history_message(user: UserHistory) -> knowledge_pb2.UserHistory:
    """The contract's UserHistory of a plain one."""
    return knowledge_pb2.UserHistory(
        user_id=user.user_id,
        attributes=attributes_message(user.attributes),
        entries=_entry_messages(user.entries),
    )


def history_of(message: knowledge_pb2.UserHistory) -> UserHistory:
    """The plain UserHistory of a contract's one."""
    return UserHistory(message.user_id, _entries_of(message.entries), attributes_of(message.attributes))


def cluster_message(cluster: Cluster) -> knowledge_pb2.Cluster:
    """The contract's Cluster of a plain one."""
    return knowledge_pb2.Cluster(
        cluster_id=cluster.cluster_id, kind=_CLUSTER_KIND_CODE[cluster.kind], entries=_entry_messages(cluster.entries)
    )


def cluster_of(message: knowledge_pb2.Cluster) -> Cluster:
    """The plain Cluster of a contract's one; the kind is empty when it is not said."""
    return Cluster(message.cluster_id, _CLUSTER_KIND.get(message.kind, ""), _entries_of(message.entries))


def _entry_messages(entries: Iterable[HistoryEntry]) -> list[knowledge_pb2.HistoryEntry]:
    return [knowledge_pb2.HistoryEntry(item=item_message(entry.item), rating=entry.rating) for entry in entries]


def _entries_of(messages: Iterable[knowledge_pb2.HistoryEntry]) -> list[HistoryEntry]:
    return [HistoryEntry(item_of(m.item), m.rating if m.HasField("rating") else None) for m in messages]


def knowledge_message(knowledge: Knowledge) -> knowledge_pb2.Knowledge:
    """The contract's Knowledge of a plain one."""
    source = knowledge.provenance
    provenance = knowledge_pb2.Provenance(
        key=source.key,
        provider=source.provider,
        model=source.model,
        scenario=source.scenario,
        prompt_version=source.prompt_version,
        factors=source.factors,
        prompt_tokens=source.prompt_tokens,
        completion_tokens=source.completion_tokens,
        finish_reason=_FINISH_CODE[source.finish_reason],
        agreement=source.agreement,
        created_time=timestamp(source.created_time),
        fallback_reason=source.fallback_reason,
        parameters_json=source.parameters_json,
        cluster=source.cluster,
        cluster_weight=source.cluster_weight,
    )
    return knowledge_pb2.Knowledge(text=knowledge.text, provenance=provenance)


def knowledge_of(message: knowledge_pb2.Knowledge) -> Knowledge:
    """The plain Knowledge of a contract's one."""
    source = message.provenance
    provenance = Provenance(
        key=source.key,
        provider=source.provider,
        model=source.model,
        scenario=source.scenario,
        prompt_version=source.prompt_version,
        factors=tuple(source.factors),
        prompt_tokens=source.prompt_tokens,
        completion_tokens=source.completion_tokens,
        finish_reason=_FINISH.get(source.finish_reason, ""),  # a newer writer may know more reasons
        agreement=source.agreement if source.HasField("agreement") else None,
        created_time=moment(source.created_time),
        fallback_reason=source.fallback_reason,
        parameters_json=source.parameters_json,
        cluster=source.cluster,
        cluster_weight=source.cluster_weight,
    )
    return Knowledge(message.text, provenance)


def record_message(record: Record) -> knowledge_pb2.KnowledgeRecord:
    """The contract's KnowledgeRecord of a plain one."""
    return knowledge_pb2.KnowledgeRecord(
        subject=_SUBJECT_CODE[record.subject],
        subject_id=record.subject_id,
        knowledge=knowledge_message(record.knowledge),
        event_id=record.event_id,
        event_time=timestamp(record.event_time),
    )


def record_of(message: knowledge_pb2.KnowledgeRecord) -> Record:
    """The plain record of a contract's one; the subject is empty when it is not said."""
    knowledge, event_time = knowledge_of(message.knowledge), moment(message.event_time)
    subject = _SUBJECT.get(message.subject, "")
    return Record(subject, message.subject_id, knowledge, message.event_id, event_time)


def record_bytes(record: Record) -> bytes:
    """The value of a record of the knowledge topic."""
    return record_message(record).SerializeToString()


def record_of_bytes(data: bytes) -> Record:
    """Reverse of record_bytes. Raises google.protobuf.message.DecodeError."""
    return record_of(knowledge_pb2.KnowledgeRecord.FromString(data))


def knowledge_bytes(knowledge: Knowledge) -> bytes:
    """The bytes under which knowledge is kept in stores."""
    return knowledge_message(knowledge).SerializeToString()


def knowledge_of_bytes(data: bytes) -> Knowledge:
    """Reverse of knowledge_bytes. Raises google.protobuf.message.DecodeError."""
    return knowledge_of(knowledge_pb2.Knowledge.FromString(data))
