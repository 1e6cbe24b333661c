"""The stage of items' knowledge, over a real features service."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaTimeoutError

from loreline.catalog.v1 import catalog_pb2
from loreline.client import Failure, FeaturesClient, NotFoundError
from services.updater.events import Delete, PoisonEvent, Upsert
from services.updater.knowledge_stage import KnowledgeStage
from services.updater.outcomes import Later, Passed
from services.updater.settings import UpdaterSettings
from services.updater.stage_builders import knowledge_stage
from tests.unit.updater.stage_parts import Parts, film, stamp


@pytest.fixture
def parts(features: FeaturesClient) -> Parts:
    """What the stage talks to."""
    return Parts(features)


@pytest.fixture
def stage(parts: Parts, updater_settings: UpdaterSettings) -> KnowledgeStage:
    """The stage, as main builds it."""
    return knowledge_stage(updater_settings, parts.connections)


@pytest.fixture
def item(parts: Parts, unique_name: str) -> Upsert:
    """An item whose content is stored."""
    event = Upsert(stamp(f"{unique_name}-1"), film(unique_name))
    parts.features.put_contents([(event.stamp, event.item)])
    return event


def test_stored_knowledge_is_told_on_both_topics(stage: KnowledgeStage, parts: Parts, item: Upsert) -> None:
    """An event for those who follow, and a whole record from which everything can be rebuilt."""
    assert stage.enrich([item]) == [None]
    described = parts.features.describe_item(item.subject_id)
    assert described.knowledge is not None
    assert described.knowledge.text == f"Of {item.subject_id}."
    [told] = parts.producer.on("enriched")
    event = catalog_pb2.CatalogEvent.FromString(told.value or b"")
    assert (told.key, event.event_id) == (item.subject_id.encode(), item.stamp.event_id)
    assert event.item_enriched.item_id == item.subject_id
    assert event.item_enriched.source.model_version == "1"
    assert parts.producer.knowledge == {f"item/{item.subject_id}": f"Of {item.subject_id}."}


def test_knowledge_gets_the_vectors_of_every_active_version(stage: KnowledgeStage, parts: Parts, item: Upsert) -> None:
    """A student that ranks other scenarios sees new items too; a version that takes no such vectors is passed over."""
    parts.embedding.others = ["2", "misfit"]
    assert stage.enrich([item]) == [None]
    [stored] = parts.features.items([item.subject_id]).items
    assert {version: vector.tolist() for version, vector in stored.augmented.items()} == {
        "1": [0.5] * 4,
        "2": [1.0] * 4,
    }
    assert len(parts.producer.on("enriched")) == 1


def test_knowledge_whose_telling_failed_is_told_when_it_is_tried_again(
    stage: KnowledgeStage, parts: Parts, item: Upsert
) -> None:
    """It is stored by then, and the second time is a duplicate."""
    parts.producer.broken = KafkaTimeoutError("no broker")
    with pytest.raises(KafkaTimeoutError):
        stage.enrich([item])
    parts.producer.broken = None
    assert stage.enrich([item]) == [None]
    assert len(parts.producer.on("enriched")) == 1


def test_a_deletion_leaves_a_tombstone(stage: KnowledgeStage, parts: Parts, item: Upsert) -> None:
    """The topic forgets the item, and features does not know it any more."""
    stage.enrich([item])
    assert stage.enrich([Delete(stamp("deletion", 5), item.subject_id, "movies")]) == [None]
    assert parts.producer.knowledge == {f"item/{item.subject_id}": None}
    with pytest.raises(NotFoundError):
        parts.features.describe_item(item.subject_id)


def test_a_deletion_that_comes_too_late_leaves_none(stage: KnowledgeStage, parts: Parts, item: Upsert) -> None:
    """The item came back since."""
    stage.enrich([item])
    assert stage.enrich([Delete(stamp("deletion", -5), item.subject_id, "movies")]) == [Passed("STALE")]
    assert parts.producer.knowledge == {f"item/{item.subject_id}": f"Of {item.subject_id}."}


def test_knowledge_of_an_item_that_was_deleted_meanwhile_is_not_told(
    stage: KnowledgeStage, parts: Parts, item: Upsert
) -> None:
    """Nothing comes after its tombstone."""
    stage.enrich([Delete(stamp("deletion", 5), item.subject_id, "movies")])
    assert stage.enrich([item]) == [Passed("STALE")]
    assert parts.producer.knowledge == {f"item/{item.subject_id}": None}


def test_knowledge_that_comes_before_its_content_waits(stage: KnowledgeStage, unique_name: str) -> None:
    """The content stage may be slower."""
    [outcome] = stage.enrich([Upsert(stamp("early"), film(unique_name))])
    assert isinstance(outcome, Later)
    assert outcome.reason == "MISSING_CONTENT"


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "BUDGET_SPENT"])
def test_what_may_come_later_waits(stage: KnowledgeStage, parts: Parts, item: Upsert, reason: str) -> None:
    """Nothing is wrong with the item."""
    parts.knowledge.failures[item.subject_id] = Failure(reason, "later")
    assert stage.enrich([item]) == [Later(reason, "later")]


@pytest.mark.parametrize("reason", ["REFUSED", "REJECTED_TEXT", "TOO_LONG"])
def test_what_never_comes_is_a_dead_letter(stage: KnowledgeStage, parts: Parts, item: Upsert, reason: str) -> None:
    """With the reason that the knowledge service gave."""
    parts.knowledge.failures[item.subject_id] = Failure(reason, "no use")
    [outcome] = stage.enrich([item])
    assert isinstance(outcome, PoisonEvent)
    assert (outcome.reason, outcome.detail) == (f"KNOWLEDGE_{reason}", "no use")


def test_a_suspect_is_finished_and_counted(stage: KnowledgeStage, parts: Parts, item: Upsert) -> None:
    """The item stays on its content; nothing is told."""
    parts.knowledge.failures[item.subject_id] = Failure("SUSPECT", "it says another year")
    assert stage.enrich([item]) == [Passed("SUSPECT")]
    assert parts.metric("suspects_total", stage="knowledge") == 1
    assert parts.producer.records == []
    assert parts.features.describe_item(item.subject_id).knowledge is None


def test_a_subject_that_is_refused_harms_no_other(
    stage: KnowledgeStage, parts: Parts, item: Upsert, unique_name: str
) -> None:
    """Each is asked about by itself then."""
    bad = Upsert(stamp("bad"), film(f"{unique_name}-bad"))
    parts.knowledge.invalid.add(bad.subject_id)
    refused, stored = stage.enrich([bad, item])
    assert isinstance(refused, PoisonEvent)
    assert (refused.reason, stored) == ("INVALID", None)
