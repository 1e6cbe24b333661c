"""The whole line in real processes: Kafka, updater, knowledge, embedding, features, ranking, Triton."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from deploy.triton.render import render
from loreline.client import (
    FailedPreconditionError,
    FeaturesClient,
    InvalidArgumentError,
    NotFoundError,
    RankingClient,
    ServiceUnavailableError,
    is_serving,
)
from loreline.client.catalog import CatalogEvent, item_deleted, item_upserted
from loreline.domain import Item, Stamp, new_stamp
from services.cli.local_processes import NAMES, LocalProcesses, free_port
from services.cli.publishing import publish
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.model_registry import ModelRegistry
from services.runtime.kafka_clients import KafkaConsumer
from tests.integration.triton_server import running_triton
from tests.model_versions import of_encoder, register_version

GENRES = ["Comedy", "Drama", "Horror"]


@dataclass
class Line:
    """The running processes and clients of them."""

    settings: CliSettings
    processes: LocalProcesses
    ranking: RankingClient
    features: FeaturesClient

    def publish(self, *events: CatalogEvent) -> None:
        """Publish item events and wait for the broker's acknowledgement."""
        publish(self.processes.address("broker"), self.settings.items_topic, events)

    def knowledge_used(self, item_id: str) -> bool:
        """Whether a ranking of this item alone uses knowledge."""
        return self.ranking.rank("nobody", "movies", [item_id]).knowledge_used == [True]

    def rankable(self, item_id: str) -> bool:
        """Whether the item can be ranked."""
        return self.ranking.rank("nobody", "movies", [item_id]).item_ids == [item_id]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """All processes on free ports over an empty home, with one promoted version that Triton scores."""
    home = tmp_path_factory.mktemp("home")
    settings = CliSettings(home=home, knowledge_provider="catalogue", preferred_ports=False)
    registry = ModelRegistry(settings.model_registry)
    register_version(registry, promote=True, **of_encoder())
    render(registry, home / "triton", "python")
    with running_triton(home / "triton") as triton, pytest.MonkeyPatch.context() as environment:
        environment.setenv("LORELINE_RANKING_TRITON_ADDRESS", triton.address)
        environment.setenv("LORELINE_UPDATER_SESSION_TIMEOUT_SECONDS", "6")
        processes = start_processes(settings, NAMES, show=False)
        ranking, features = (
            kind(processes.address(name), timeout_seconds=100)
            for kind, name in ((RankingClient, "ranking"), (FeaturesClient, "features"))
        )
        yield Line(settings, processes, ranking, features)
        ranking.close()
        features.close()
        list(processes.stop())


def test_every_process_is_healthy_by_grpc_health(line: Line) -> None:
    """Liveness and readiness are asked apart; ranking names Triton among what it depends on."""
    for name in ("knowledge", "embedding", "features", "updater", "ranking"):
        assert is_serving(line.processes.address(name), "liveness"), name
        assert is_serving(line.processes.address(name), "readiness"), name
    assert is_serving(line.processes.address("ranking"), "dependency/triton")


def test_a_published_item_becomes_rankable_and_then_enriched(line: Line) -> None:
    """From Kafka through every process to a ranked answer that uses knowledge."""
    film = _film("new-1", "A Quiet Street (1994)")
    assert line.ranking.rank("nobody", "movies", ["new-1"]).unknown_item_ids == ["new-1"]
    line.publish(item_upserted(film))
    _wait_until(lambda: line.rankable("new-1"))
    _wait_until(lambda: line.knowledge_used("new-1"))
    described = line.features.describe_item("new-1")
    assert described.knowledge is not None
    assert described.knowledge.provenance.provider == "catalogue"
    assert "Comedy" in described.knowledge.text
    assert described.model_versions == ["1"]


def test_scores_through_triton_equal_those_of_a_ranking_process_without_it(line: Line) -> None:
    """Two ranking processes over the same features and registry answer alike to 1e-5."""
    films = [_film(f"both-{n}", f"Film number {n} (1985)", GENRES[n % 3]) for n in range(12)]
    line.publish(*[item_upserted(film) for film in films])
    ids = [film.item_id for film in films]
    _wait_until(lambda: all(line.ranking.rank("nobody", "movies", ids).knowledge_used[:12] or [False]))
    _wait_until(lambda: len(line.ranking.rank("nobody", "movies", ids).item_ids) == 12)
    line.features.put_user_history("viewer", _stamp_of_now(), ids[:3], [5, 1, 4], [1, 2, 3])
    through_triton = line.ranking.rank("viewer", "movies", ids)
    with _ranking_without_triton(line) as other:
        in_process = other.rank("viewer", "movies", ids)
    assert through_triton.item_ids == in_process.item_ids
    np.testing.assert_allclose(through_triton.scores, in_process.scores, atol=1e-5)


def test_knowledge_can_be_switched_off_for_a_request(line: Line) -> None:
    """The scores differ then, and the answer says that none was used."""
    line.publish(item_upserted(_film("switch", "The Switch (1991)")))
    _wait_until(lambda: line.knowledge_used("switch"))
    on = line.ranking.rank("nobody", "movies", ["switch"])
    off = line.ranking.rank("nobody", "movies", ["switch"], use_knowledge=False)
    assert off.knowledge_used == [False]
    assert on.scores[0] != off.scores[0]


def test_a_poison_message_goes_to_the_dead_letters_and_stops_nothing(line: Line, unique_name: str) -> None:
    """The record keeps its bytes, the reason stands in its headers, and what follows is handled."""
    garbage = CatalogEvent("bad", _RawValue(b"\xff\xfe not a message"))
    without_title = item_upserted(Item("untitled", "movies", ""))
    line.publish(garbage, without_title, item_upserted(_film("after-poison", "Still Here (1988)")))
    _wait_until(lambda: line.rankable("after-poison"))
    letters = _dead_letters(line, unique_name, wanted=2)
    reasons = {letters[key]["dead-letter-reason"] for key in ("bad", "untitled")}
    assert reasons == {"UNPARSABLE", "INVALID"}
    assert "title" in letters["untitled"]["dead-letter-detail"]


def test_a_redelivered_event_changes_nothing(line: Line) -> None:
    """Content, knowledge and their times stay those of the first delivery."""
    event = item_upserted(_film("twice", "Told Twice (1983)"))
    line.publish(event)
    _wait_until(lambda: line.knowledge_used("twice"))
    before = line.features.describe_item("twice")
    line.publish(event, item_upserted(_film("after-twice", "Told Later (1983)")))
    _wait_until(lambda: line.knowledge_used("after-twice"))
    assert line.features.describe_item("twice") == before


def test_an_older_event_that_comes_late_never_overwrites_a_newer_one(line: Line) -> None:
    """Order is by event time, not by arrival."""
    now = datetime.now(UTC)
    newer = item_upserted(_film("late", "Final Title (1990)"), new_stamp(event_time=now))
    older = item_upserted(_film("late", "Working Title (1990)"), new_stamp(event_time=now - timedelta(hours=1)))
    line.publish(newer, older, item_upserted(_film("after-late", "Next (1990)")))
    _wait_until(lambda: line.knowledge_used("after-late"))
    _wait_until(lambda: line.knowledge_used("late"))
    assert line.features.describe_item("late").item.title == "Final Title (1990)"


def test_a_deleted_item_is_reported_as_unknown(line: Line) -> None:
    """It is not ranked any more, and nothing is stored of it."""
    line.publish(item_upserted(_film("gone", "Soon Gone (1989)")))
    _wait_until(lambda: line.rankable("gone"))
    line.publish(item_deleted("gone", "movies"))
    _wait_until(lambda: line.ranking.rank("nobody", "movies", ["gone"]).unknown_item_ids == ["gone"])
    with pytest.raises(NotFoundError):
        line.features.describe_item("gone")


def test_an_unknown_user_is_ranked_by_the_cold_start_path(line: Line) -> None:
    """And a known one is not."""
    line.publish(item_upserted(_film("seen", "Seen Before (1987)")))
    _wait_until(lambda: line.rankable("seen"))
    line.features.put_user_history("regular", _stamp_of_now(), ["seen"], [5], [1])
    assert line.ranking.rank("stranger", "movies", ["seen"]).user_route == "COLD_START"
    assert line.ranking.rank("regular", "movies", ["seen"]).user_route == "KNOWN"


@pytest.mark.parametrize(
    ("candidates", "scenario", "field"),
    [
        ([], "movies", "candidate_item_ids"),
        ([f"i{n}" for n in range(10_001)], "movies", "candidate_item_ids"),
        (["a", "a"], "movies", "candidate_item_ids[1]"),
        (["x" * 129], "movies", "candidate_item_ids[0]"),
    ],
)
def test_bad_requests_name_the_field(line: Line, candidates: list[str], scenario: str, field: str) -> None:
    """INVALID_ARGUMENT, with the field's path in the details."""
    with pytest.raises(InvalidArgumentError) as refused:
        line.ranking.rank("nobody", scenario, candidates)
    assert field in [violation[0] for violation in refused.value.violations]


def test_a_scenario_that_nobody_configured_needs_a_general_network(line: Line) -> None:
    """FAILED_PRECONDITION, since no version has one; the message says what to do."""
    with pytest.raises(FailedPreconditionError, match="loreline train --config unictr"):
        line.ranking.rank("nobody", "wines", ["a"])


class _RawValue:
    """Stands where an event would, with bytes that are none."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def SerializeToString(self) -> bytes:
        return self._value


def _film(item_id: str, title: str, genre: str = "Comedy") -> Item:
    return Item(item_id, "movies", title, {"genres": [genre], "year": 1990.0})


def _stamp_of_now() -> Stamp:
    return new_stamp()


def _wait_until(condition: Callable[[], bool], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except ServiceUnavailableError:
            pass
        time.sleep(0.05)
    pytest.fail("the condition was not met in time")


def _dead_letters(line: Line, group: str, wanted: int) -> dict[str, dict[str, str]]:
    consumer = KafkaConsumer(
        "dead-letters",
        bootstrap_servers=line.processes.address("broker"),
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=1500,
    )
    found: dict[str, dict[str, str]] = {}
    deadline = time.monotonic() + 100
    while len(found) < wanted and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                found[record.key.decode()] = {name: value.decode() for name, value in record.headers}
    consumer.close()
    return found


class _ranking_without_triton:  # noqa: N801
    """A second ranking process over the same features and registry, scoring by itself."""

    def __init__(self, line: Line) -> None:
        self._address = f"127.0.0.1:{free_port(0)}"
        self._log = Path(line.settings.home) / "ranking-in-process.log"
        own = {
            "LORELINE_RANKING_LISTEN_ADDRESS": self._address,
            "LORELINE_RANKING_FEATURES_ADDRESS": line.processes.address("features"),
            "LORELINE_RANKING_MODEL_REGISTRY": str(line.settings.model_registry),
            "LORELINE_RANKING_TRITON_ADDRESS": "",
        }
        self._environment = os.environ | own

    def __enter__(self) -> RankingClient:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.ranking"], env=self._environment, stdout=log, stderr=log
            )
        _wait_until(lambda: is_serving(self._address))
        self._client = RankingClient(self._address, timeout_seconds=100)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        assert self._process.wait(100) == 0
