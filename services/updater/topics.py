"""The topics of the streaming line, and how those that are missing are created."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from services.runtime.kafka_clients import KafkaAdminClient

BROKERS_DEFAULT = -1
COMPACTED = {"cleanup.policy": "compact"}
LARGE_RECORDS = {"max.message.bytes": str(2 * 1024 * 1024)}  # the largest record that Kafka takes, and why it is dead


@dataclass(frozen=True)
class Topic:
    """A topic as it is created. `replication` -1 is the broker's default; `configs` are Kafka's names and values."""

    name: str
    partitions: int
    replication: int = BROKERS_DEFAULT
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicNames:
    """What the five topics are called."""

    items: str = "items"
    interactions: str = "interactions"
    enriched: str = "enriched"
    knowledge: str = "knowledge"
    dead_letters: str = "dead-letters"


def streaming_topics(
    names: TopicNames, partitions: int, interactions_partitions: int, replication: int = BROKERS_DEFAULT
) -> list[Topic]:
    """The five topics with their settings: knowledge keeps the newest record of each key for ever."""
    return [
        Topic(names.items, partitions, replication),
        Topic(names.interactions, interactions_partitions, replication),
        Topic(names.enriched, partitions, replication),
        Topic(names.knowledge, partitions, replication, COMPACTED),
        Topic(names.dead_letters, partitions, replication, LARGE_RECORDS),
    ]


def create_missing_topics(bootstrap_servers: str, topics: Sequence[Topic]) -> list[str]:
    """Create those of the topics that do not exist; existing ones are left as they are. Returns the names created.

    Raises kafka.errors.KafkaError when no broker answers, or when one refuses a topic as it is described.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","))
    try:
        existing = set(admin.list_topics())
        return [topic.name for topic in _missing(topics, existing) if _create(admin, topic)]
    finally:
        admin.close()


def _missing(topics: Iterable[Topic], existing: set[str]) -> list[Topic]:
    return [topic for topic in topics if topic.name not in existing]


def _create(admin: KafkaAdminClient, topic: Topic) -> bool:
    new = NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.configs))
    try:
        admin.create_topics([new])
    except TopicAlreadyExistsError:
        return False  # another process was faster
    return True
