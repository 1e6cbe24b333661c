"""`loreline topics` on a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka.admin import ConfigResource

from services.cli.local_processes import free_port
from services.runtime.kafka_clients import KafkaAdminClient
from tests.unit.cli.command import Command, on_topics_of_its_own


@pytest.fixture
def loreline(tmp_path: Path, broker: str, unique_name: str) -> Command:
    """The command on topics that no other test uses."""
    return on_topics_of_its_own(tmp_path, broker, unique_name)


def test_missing_topics_are_created_as_they_are_set(loreline: Command, broker: str, unique_name: str) -> None:
    """With the partitions of the settings; the two topics that hold the newest state of a key are compacted."""
    done = loreline("topics", "create", "--json", TOPIC_PARTITIONS="3", INTERACTIONS_PARTITIONS="2")
    admin = KafkaAdminClient(bootstrap_servers=broker)
    names = [name for name in admin.list_topics() if name.startswith(unique_name)]
    found = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(names)}
    asked = [ConfigResource("topic", name) for name in names]
    configs = admin.describe_configs(asked, config_filter="all")["topic"]
    admin.close()

    assert {topic["topic"]: topic["state"] for topic in done.document} == dict.fromkeys(names, "created")
    assert found == dict.fromkeys(names, 3) | {f"{unique_name}-interactions": 2}
    assert len(names) == 6
    compacted = {name for name in names if configs[name].get("cleanup.policy", {}).get("value") == "compact"}
    assert compacted == {f"{unique_name}-knowledge", f"{unique_name}-dead-letter-resolutions"}


def test_topics_that_are_there_stay_as_they_are(loreline: Command, unique_name: str) -> None:
    """A second run creates nothing, and only reports where there are fewer partitions than are set."""
    loreline("topics", "create", TOPIC_PARTITIONS="2", INTERACTIONS_PARTITIONS="3")
    again = loreline("topics", "create", TOPIC_PARTITIONS="5")
    listed = loreline("topics", "list", "--json", TOPIC_PARTITIONS="5").document

    assert again.code == 0
    assert f"{unique_name}-items: fewer partitions than the 5 that are set" in again.stdout
    assert {(topic["state"], topic["partitions"]) for topic in listed} == {("there", 2), ("there", 3)}


def test_listing_creates_nothing(loreline: Command) -> None:
    """Missing topics are shown as missing, with the next command."""
    first, second = loreline("topics", "list"), loreline("topics", "list", "--json")

    assert "loreline topics create" in first.stdout
    assert {topic["state"] for topic in second.document} == {"missing"}


def test_without_a_broker_the_command_ends_with_1(tmp_path: Path) -> None:
    """And names the address that did not answer."""
    address = f"127.0.0.1:{free_port(0)}"
    done = Command(tmp_path, {"BROKER_ADDRESS": address})("topics", "create")

    assert done.code == 1
    assert address in done.stderr
    assert "loreline up" in done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TOPIC_PARTITIONS": "0"}, "LORELINE_CLI_TOPIC_PARTITIONS"),
        ({"TOPIC_REPLICATION": "many"}, "LORELINE_CLI_TOPIC_REPLICATION"),
        ({"KNOWLEDGE_TOPIC": "one", "ITEMS_TOPIC": "one"}, "LORELINE_CLI_ITEMS_TOPIC and LORELINE_CLI_KNOWLEDGE_TOPIC"),
    ],
)
def test_wrong_settings_end_with_2(loreline: Command, variables: dict[str, str], words: str) -> None:
    """And name the variable."""
    done = loreline("topics", "create", **variables)

    assert done.code == 2
    assert words in done.stderr
