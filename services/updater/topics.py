"""Creates the topics that are missing."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError


def create_missing_topics(bootstrap_servers: str, names: Sequence[str], partitions: int) -> None:
    """Create those of the topics that do not exist, with the broker's default replication.

    Raises kafka.errors.KafkaError when no broker answers.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","))
    try:
        missing = sorted(set(names) - set(admin.list_topics()))
        new = [NewTopic(name, num_partitions=partitions, replication_factor=-1) for name in missing]
        if new:
            admin.create_topics(new)
    except TopicAlreadyExistsError:
        pass  # another process was faster
    finally:
        admin.close()
