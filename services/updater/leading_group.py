"""How far another consumer group has come on the same topic, for a stage that needs that group's effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError

from services.runtime.kafka_clients import KafkaAdminClient, KafkaConsumer

REFRESH_SECONDS = 0.5
TIMEOUT_MS = 2000
log = structlog.get_logger(__name__)


class LeadingGroup:
    """Asks the broker, twice a second at most, what a group has committed. For one thread.

    A stage that reads no further finds everything stored that came before, however far the group is behind.
    """

    def __init__(self, bootstrap_servers: str, group_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers, self._group_id, self._clock = bootstrap_servers.split(","), group_id, clock
        self._reader: KafkaAdminClient | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._asked = float("-inf")

    def reached_by(self, follower: KafkaConsumer) -> set[TopicPartition]:
        """The follower's partitions whose next record the group has not finished."""
        partitions = follower.assignment()
        if self._clock() - self._asked >= REFRESH_SECONDS or not partitions <= self._committed.keys():
            self._ask(partitions)
        return {p for p in partitions if _position(follower, p) >= self._committed.get(p, 0)}

    def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._reader.close()

    def _ask(self, partitions: Iterable[TopicPartition]) -> None:
        self._asked = self._clock()
        try:
            found = self._connected().list_group_offsets({self._group_id: list(partitions)})[self._group_id]
            self._committed = {p: max(0, at.offset) for p, at in found.items()}  # -1: nothing committed
        except KafkaError as error:  # what was known stays true: a group only goes forward
            log.info("leading group not known", group=self._group_id, error=repr(error))

    def _connected(self) -> KafkaAdminClient:
        self._reader = self._reader or KafkaAdminClient(
            bootstrap_servers=self._servers, bootstrap_timeout_ms=TIMEOUT_MS, request_timeout_ms=TIMEOUT_MS
        )
        return self._reader


def _position(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    try:
        return int(consumer.position(partition, timeout_ms=0) or 0)
    except (KafkaError, AssertionError):  # it went in between, or its place is not known yet
        return 0
