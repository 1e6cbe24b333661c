"""Creating the topics of the streaming line on a real broker."""

from __future__ import annotations

from services.runtime.kafka_clients import KafkaAdminClient
from services.updater.settings import UpdaterSettings
from services.updater.topics import Topic, TopicNames, create_missing_topics, streaming_topics


def partitions(broker: str, name: str) -> int:
    """How many partitions a topic has."""
    admin = KafkaAdminClient(bootstrap_servers=broker)
    [described] = admin.describe_topics([name])
    admin.close()
    return len(described["partitions"])


def test_missing_topics_are_created_with_their_partitions(broker: str, unique_name: str) -> None:
    """And are named to the caller; a second call has nothing to do."""
    topics = [Topic(f"{unique_name}-a", 3), Topic(f"{unique_name}-b", 2, configs={"cleanup.policy": "compact"})]
    assert create_missing_topics(broker, topics) == [f"{unique_name}-a", f"{unique_name}-b"]
    assert create_missing_topics(broker, topics) == []
    assert [partitions(broker, topic.name) for topic in topics] == [3, 2]


def test_an_existing_topic_is_left_as_it_is(broker: str, unique_name: str) -> None:
    """Whatever else is asked for now."""
    create_missing_topics(broker, [Topic(unique_name, 2)])
    assert create_missing_topics(broker, [Topic(unique_name, 5)]) == []
    assert partitions(broker, unique_name) == 2


def test_the_broker_takes_the_settings_of_all_five(broker: str, unique_name: str) -> None:
    """It refuses a topic whose settings it does not know."""
    names = TopicNames(
        *[f"{unique_name}-{kind}" for kind in ("items", "interactions", "enriched", "knowledge", "dead")]
    )
    assert len(create_missing_topics(broker, streaming_topics(names, 1, 1))) == 5


def test_the_knowledge_topic_alone_is_compacted() -> None:
    """The newest record of every key is kept for ever there; the other topics are streams."""
    topics = streaming_topics(TopicNames(), 1, 1)
    assert [topic.name for topic in topics if topic.configs.get("cleanup.policy") == "compact"] == ["knowledge"]


def test_names_partitions_and_replication_come_from_the_settings() -> None:
    """Each topic is there once, under the name that was set."""
    addresses = dict.fromkeys(
        ("listen_address", "bootstrap_servers", "knowledge_address", "embedding_address", "features_address"), "h:1"
    )
    settings = UpdaterSettings(
        **addresses, items_topic="goods", topic_partitions=6, interactions_partitions=12, topic_replication=3
    )
    found = {topic.name: (topic.partitions, topic.replication) for topic in settings.topics}
    assert found == {
        "goods": (6, 3),
        "interactions": (12, 3),
        "enriched": (6, 3),
        "knowledge": (6, 3),
        "dead-letters": (6, 3),
    }
