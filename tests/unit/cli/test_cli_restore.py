"""`loreline knowledge restore` from a real broker into a real knowledge service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loreline.client import KnowledgeClient, NotFoundError, Record
from loreline.client.messages import record_bytes
from services.knowledge.assembly import assemble
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import ProviderPool, build_provider
from services.knowledge.servicer import SERVICE_NAME, service
from services.knowledge.settings import KnowledgeSettings
from services.runtime.health import HealthMonitor
from services.runtime.kafka_clients import KafkaProducer
from services.runtime.server import ServerOptions, start_server
from tests.knowledge_samples import sample_knowledge
from tests.unit.cli.command import Command, Done, on_topics_of_its_own

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Archive:
    """A knowledge topic, an empty store, and the command on both."""

    loreline: Command
    knowledge: KnowledgeClient
    broker: str
    topic: str

    def write(self, *records: tuple[str, bytes | None]) -> None:
        """Write keys and values to the topic, in their order."""
        producer = KafkaProducer(bootstrap_servers=self.broker)
        sent = [producer.send(self.topic, key=key.encode(), value=value) for key, value in records]
        for future in sent:
            future.get(timeout=100)
        producer.close()

    def restore(self) -> Done:
        """Run the command with --json."""
        return self.loreline("knowledge", "restore", "--json")


def answer(subject: str, subject_id: str, text: str) -> tuple[str, bytes]:
    """An answer as the updater writes it."""
    known = sample_knowledge(text, key=hashlib.sha256(text.encode()).hexdigest())
    record = Record(subject, subject_id, known, f"event-{subject_id}", NOON)
    return f"{subject}/{subject_id}", record_bytes(record)


@pytest.fixture
def archive(tmp_path: Path, broker: str, unique_name: str) -> Iterator[Archive]:
    """Fresh topics, and a knowledge service over an empty store."""
    health = HealthMonitor({}, [SERVICE_NAME])
    settings = KnowledgeSettings(listen_address="127.0.0.1:0", store_path=tmp_path / "knowledge.db")
    parts = assemble(
        settings, ProviderPool(["catalogue"], lambda name: build_provider(name, settings)), KnowledgeMetrics()
    )
    made = service(parts.generator, parts.elicitor, parts.archive)
    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [made], health)
    address = server.address
    loreline = on_topics_of_its_own(tmp_path / "home", broker, unique_name)
    loreline.variables["KNOWLEDGE_ADDRESS"] = address
    loreline("topics", "create", TOPIC_PARTITIONS="3")
    with KnowledgeClient(address) as client:
        yield Archive(loreline, client, broker, f"{unique_name}-knowledge")
    health.stop()
    server.stop(0).wait()
    parts.close()


def test_the_newest_answer_of_every_subject_comes_back(archive: Archive) -> None:
    """Older answers of the same subject stay away, and so do subjects that are gone."""
    archive.write(
        answer("item", "a", "The first text about a."),
        answer("item", "gone", "A text about what is gone."),
        answer("user", "a", "What the user named a likes."),
        answer("item", "a", "The newest text about a."),
        ("item/gone", None),
    )
    done = archive.restore()

    assert (done.code, done.document["answers"], done.document["new"]) == (0, 2, 2)
    assert archive.knowledge.item_knowledge("a").text == "The newest text about a."
    assert archive.knowledge.user_knowledge("a").text == "What the user named a likes."
    with pytest.raises(NotFoundError):
        archive.knowledge.item_knowledge("gone")


def test_a_second_run_changes_nothing(archive: Archive) -> None:
    """It finds everything there; more than one request's worth of answers."""
    archive.write(*[answer("item", f"i{number}", f"A text about item {number}.") for number in range(900)])
    first, second = archive.restore().document, archive.restore().document

    assert (first["answers"], first["new"]) == (900, 900)
    assert (second["answers"], second["new"]) == (900, 0)
    assert archive.knowledge.item_knowledge("i899").text == "A text about item 899."


def test_records_that_are_no_answers_are_named_and_hold_nothing_up(archive: Archive) -> None:
    """Bytes that do not parse, a key of another subject, and what the service refuses; it ends with 1."""
    _, value = answer("item", "b", "A text about b.")
    archive.write(
        ("item/x", b"\xff\xff"),
        ("item/y", value),
        answer("item", "z" * 200, "A text about an item whose id is too long."),
        answer("item", "a", "A text about a."),
    )
    done = archive.restore()
    shown = archive.loreline("knowledge", "restore")

    assert (done.code, done.document["new"], len(done.document["unfit"])) == (1, 1, 3)
    assert archive.knowledge.item_knowledge("a").text == "A text about a."
    assert "3 records were passed over" in shown.stdout


def test_the_operator_is_told_what_to_do_next(archive: Archive) -> None:
    """The store is back, and the feature store may not be."""
    archive.write(answer("item", "a", "A text about a."))
    shown = " ".join(archive.loreline("knowledge", "restore").stdout.split())

    assert "1 came back, 0 were there" in shown
    assert "LORELINE_UPDATER_CONSUMER_GROUP" in shown


def test_without_the_topic_the_command_says_so(tmp_path: Path, broker: str, unique_name: str) -> None:
    """It ends with 1."""
    done = on_topics_of_its_own(tmp_path, broker, unique_name)("knowledge", "restore")

    assert done.code == 1
    assert f"there is no topic '{unique_name}-knowledge'" in done.stderr
