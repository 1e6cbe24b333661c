"""What users do, from Kafka through every process to histories, preferences, and the topics that tell of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from loreline.catalog.v1 import catalog_pb2
from loreline.client import NotFoundError, RankingClient, ServiceUnavailableError
from loreline.client.catalog import (
    CatalogEvent,
    interaction_logged,
    item_deleted,
    item_upserted,
    preferences_requested,
)
from loreline.client.messages import record_of_bytes
from loreline.domain import Item
from tests.faults.line import PROCESSES, Line, running_line
from tests.waiting import wait_until

FILMS = [Item(f"f{n}", "movies", f"Film {n} (1990)", {"genres": ["Comedy"], "year": 1990.0}) for n in range(6)]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """All processes over an empty home; six films are stored."""
    with running_line(tmp_path_factory.mktemp("home"), (*PROCESSES, "ranking")) as line:
        send(line, "items", *map(item_upserted, FILMS))
        line.wait_until_done(60)
        yield line


def send(line: Line, topic: str, *events: CatalogEvent) -> None:
    """Publish events."""
    line.send([(event.key, event.value) for event in events], topic=topic)


def watched(user_id: str, *films: int) -> list[CatalogEvent]:
    """A user gave four stars to films."""
    return [interaction_logged(user_id, f"f{film}", "movies", 4.0) for film in films]


def holds(condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, which does not hold while a service knows nothing yet."""

    def checked() -> bool:
        try:
            return condition()
        except (NotFoundError, ServiceUnavailableError):
            return False

    return checked


def test_an_interaction_is_in_the_history_that_ranking_reads(line: Line) -> None:
    """The user is not ranked by the cold-start path any more, and the history changes the scores."""
    candidates = [film.item_id for film in FILMS]
    with RankingClient(line.processes.address("ranking"), timeout_seconds=100) as ranking:
        wait_until(holds(lambda: len(ranking.rank("ann", "movies", candidates).item_ids) == 6), 30, "the films")
        before = ranking.rank("ann", "movies", candidates)
        send(line, "interactions", *watched("ann", 0, 1, 0))
        wait_until(holds(lambda: line.features.user("ann").user.item_ids == ["f0", "f1", "f0"]), 30, "the history")
        after = ranking.rank("ann", "movies", candidates)
    assert (before.user_route, after.user_route) == ("COLD_START", "KNOWN")
    assert list(before.scores) != list(after.scores)


def test_enough_interactions_become_preferences_that_are_told(line: Line) -> None:
    """Stored with vectors, and published as an event and as a whole record."""
    send(line, "interactions", *watched("ben", 0, 1, 2, 3))
    line.wait_until_done(60)
    assert line.features.user("ben").knowledge_status == "NULL"
    [last] = watched("ben", 4)
    send(line, "interactions", last)
    wait_until(holds(lambda: line.features.user("ben").knowledge_status == "PRESENT"), 60, "the preferences")
    line.wait_until_done(60)
    described = line.features.describe_user("ben")
    assert described.knowledge is not None
    [told] = [record for record in line.records("enriched") if record.key == b"ben"]
    event = catalog_pb2.CatalogEvent.FromString(told.value)
    assert (event.event_id, event.user_enriched.source.model_version) == (last.event.event_id, "1")
    [kept] = [record for record in line.records("knowledge") if record.key == b"user/ben"]
    assert record_of_bytes(kept.value).knowledge == described.knowledge


def test_a_request_brings_preferences_at_once(line: Line) -> None:
    """A single interaction is enough then."""
    send(line, "interactions", *watched("cleo", 0), preferences_requested("cleo", "movies"))
    wait_until(holds(lambda: line.features.user("cleo").knowledge_status == "PRESENT"), 60, "the preferences")


def test_a_deleted_item_leaves_a_tombstone_in_the_knowledge_topic(line: Line) -> None:
    """After the record of its knowledge."""
    send(line, "items", item_upserted(Item("gone", "movies", "Soon Gone (1989)", {"genres": ["Drama"]})))
    line.wait_until_done(60)
    send(line, "items", item_deleted("gone", "movies"))
    line.wait_until_done(60)
    values = [record.value for record in line.records("knowledge") if record.key == b"item/gone"]
    assert [value is None for value in values] == [False, True]


def test_what_belongs_on_the_other_topic_is_a_dead_letter(line: Line) -> None:
    """Once, from the stage that stores what the topic brings."""
    misplaced = item_upserted(Item("misplaced", "movies", "Misplaced (1989)"))
    unrateable = interaction_logged("dora", "f0", "movies", 9.0)
    send(line, "interactions", misplaced, unrateable, *watched("dora", 1))
    wait_until(holds(lambda: line.features.user("dora").user.item_ids == ["f1"]), 30, "what is right")
    line.wait_until_done(60)
    letters = [(record.key, dict(record.headers)) for record in line.dead_letters()]
    found = {key: headers for key, headers in letters if headers["dead-letter-topic"] == b"interactions"}
    assert {key: headers["dead-letter-stage"] for key, headers in found.items()} == {
        b"misplaced": b"interactions",
        b"dora": b"interactions",
    }
    assert b"interaction_logged.rating: must be from 1 to 5" in found[b"dora"]["dead-letter-detail"]
