"""Answers brought back from the knowledge topic: kept once, linked to their subjects, checked by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from knowledge_parts import GOOD_TEXT, item

from loreline.client import InvalidArgumentError, KnowledgeClient
from loreline.client.errors import client_errors
from loreline.client.messages import Record, record_message
from loreline.domain import Knowledge, Provenance
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from tests.language_model_stub import FaultStub

Start = Callable[..., KnowledgeClient]
WRITTEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCE = Provenance(
    key="a" * 64,
    provider="tgi",
    model="model-7b",
    scenario="movies",
    prompt_version=2,
    factors=("genre", "mood"),
    prompt_tokens=50,
    completion_tokens=31,
    finish_reason="stop",
    created_time=WRITTEN,
    parameters_json='{"seed":0}',
    agreement=0.5,
    fallback_reason="",
)


def record(subject: str = "item", subject_id: str = "1", text: str = GOOD_TEXT, **source: Any) -> Record:
    """A whole record, with some fields of its provenance changed."""
    knowledge = Knowledge(text, dataclasses.replace(SOURCE, **source))
    return Record(subject, subject_id, knowledge, "event-1", WRITTEN)


def test_a_restored_answer_is_read_as_it_was_written(start: Start) -> None:
    """Text and every field of the provenance, for items and users apart."""
    client = start()
    user = record("user", "1", "Another text about a viewer who likes slow films.", key="b" * 64)
    assert client.restore([record(), user]) == 2
    assert client.item_knowledge("1") == record().knowledge
    assert client.user_knowledge("1") == user.knowledge


def test_restoring_twice_changes_nothing(start: Start) -> None:
    """Also twice within one call; what is kept already stays as it is."""
    client = start()
    assert client.restore([record(), record()]) == 1
    assert client.restore([record(text="Other words under the same key, written later.")]) == 0
    assert client.item_knowledge("1").text == GOOD_TEXT


def test_an_answer_that_is_kept_can_be_linked_to_more_subjects(start: Start) -> None:
    """Equal items share one answer."""
    client = start()
    client.restore([record()])
    assert client.restore([record(subject_id="2")]) == 0
    assert client.item_knowledge("2") == client.item_knowledge("1")


def test_the_newest_restored_answer_counts_whatever_the_order(start: Start) -> None:
    """By the time of writing."""
    client, later = start(), WRITTEN.replace(hour=13)
    client.restore([record(key="c" * 64, created_time=later, text="The newer text about the same film, in few words.")])
    client.restore([record()])
    assert client.item_knowledge("1").provenance.key == "c" * 64


def test_a_restored_answer_is_not_asked_for_again(start: Start, stub: FaultStub, tmp_path: Path) -> None:
    """A store that was lost is brought back without a call."""
    client = start(default_provider="tgi", tgi_url=stub.url("ok"))
    written = next(client.generate_for_items("movies", [item()])).knowledge
    assert written is not None
    other = start(default_provider="tgi", tgi_url=stub.url("ok"), store_path=tmp_path / "another.db")
    other.restore([Record("item", "1", written, "event-1", WRITTEN)])
    assert next(other.generate_for_items("movies", [item()])).reused
    assert len(stub.bodies) == 1


BAD = {
    "no subject": (record(), {"subject": 0}, "records[0].subject"),
    "unknown subject": (record(), {"subject": 7}, "records[0].subject"),
    "empty id": (record(subject_id=""), {}, "records[0].subject_id"),
    "long id": (record(subject_id="x" * 129), {}, "records[0].subject_id"),
    "empty text": (record(text=""), {}, "records[0].knowledge.text"),
    "blank text": (record(text=" "), {}, "records[0].knowledge.text"),
    "long text": (record(text="x" * 16_385), {}, "records[0].knowledge.text"),
    "no key": (record(key=""), {}, "records[0].knowledge.provenance.key"),
    "other key": (record(key="A" * 64), {}, "records[0].knowledge.provenance.key"),
    "no provider": (record(provider=""), {}, "records[0].knowledge.provenance.provider"),
    "no model": (record(model=""), {}, "records[0].knowledge.provenance.model"),
    "no scenario": (record(scenario=""), {}, "records[0].knowledge.provenance.scenario"),
    "time far away": (record(), {"event_time": {"seconds": 2**62}}, "records[0]"),
}


@pytest.mark.parametrize(("bad", "changes", "field"), BAD.values(), ids=BAD.keys())
def test_a_bad_record_is_refused_by_the_name_of_its_field(
    start: Start, bad: Record, changes: dict[str, Any], field: str
) -> None:
    """And nothing of its call is kept."""
    client = start()
    message = record_message(bad)
    message.MergeFrom(knowledge_pb2.KnowledgeRecord(**changes))
    if changes.get("subject") == 0:
        message.ClearField("subject")
    request = knowledge_pb2.RestoreKnowledgeRequest(records=[message, record_message(record(subject_id="2"))])
    with (
        grpc.insecure_channel(client.address) as channel,
        pytest.raises(InvalidArgumentError) as refused,
        client_errors(),
    ):
        knowledge_pb2_grpc.KnowledgeServiceStub(channel).RestoreKnowledge(request, timeout=100)
    assert [name for name, _ in refused.value.violations] == [field]
    assert client.restore([record(subject_id="2")]) == 1


def test_a_record_without_a_time_of_writing_is_refused(start: Start) -> None:
    """It could not be ordered."""
    with pytest.raises(InvalidArgumentError, match="created_time: must be set"):
        start().restore([record(created_time=datetime(1970, 1, 1, tzinfo=UTC))])


@pytest.mark.parametrize("count", [0, 257])
def test_a_call_holds_1_to_256_records(start: Start, count: int) -> None:
    """As every call of the contract."""
    with pytest.raises(InvalidArgumentError, match=f"records: must hold 1 to 256 entries, holds {count}"):
        start().restore([record()] * count)
