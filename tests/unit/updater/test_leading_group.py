"""Following another group no further than it has committed, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from services.runtime.kafka_clients import KafkaConsumer, KafkaProducer
from services.updater.leading_group import REFRESH_SECONDS, LeadingGroup
from services.updater.topics import Topic, create_missing_topics


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def follower(broker: str, unique_name: str) -> Iterator[KafkaConsumer]:
    """A reader of two partitions with three records each, which has read none."""
    create_missing_topics(broker, [Topic(unique_name, 2)])
    producer = KafkaProducer(bootstrap_servers=broker, acks="all")
    for number in range(6):
        producer.send(unique_name, key=b"k", value=b"v", partition=number % 2).get(timeout=100)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=None, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(unique_name, number) for number in range(2)])
    yield consumer
    consumer.close()


def commit(broker: str, group: str, partition: TopicPartition, offset: int) -> None:
    """The group has finished what comes before the offset."""
    member = KafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    member.assign([partition])
    member.commit({partition: OffsetAndMetadata(offset, "", -1)})
    member.close(autocommit=False)


def test_a_follower_has_reached_what_the_group_has_not_finished(
    broker: str, unique_name: str, follower: KafkaConsumer
) -> None:
    """By partition, and anew when the group goes on."""
    one, two = (TopicPartition(unique_name, number) for number in range(2))
    clock = Clock()
    leading = LeadingGroup(broker, f"{unique_name}-first", clock)
    assert leading.reached_by(follower) == {one, two}
    commit(broker, f"{unique_name}-first", one, 2)
    assert leading.reached_by(follower) == {one, two}  # it is not asked all the time
    clock.now += REFRESH_SECONDS
    assert leading.reached_by(follower) == {two}
    follower.seek(one, 2)
    assert leading.reached_by(follower) == {one, two}
    leading.close()
