"""Which offsets may be committed, when records are finished in any order."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import takewhile

import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from services.runtime.kafka_clients import KafkaConsumer

log = structlog.get_logger(__name__)


class Offsets:
    """Records that were read and are not finished yet, by partition. Safe to share between threads.

    A partition's committable offset is the one after its longest finished beginning: everything before it has had its
    effect, so whoever reads on from there loses nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[TopicPartition, dict[int, bool]] = {}  # offset: whether it is finished, in their order
        self._ready: dict[TopicPartition, int] = {}

    def __len__(self) -> int:
        """How many records are read and not committable yet."""
        with self._lock:
            return sum(len(records) for records in self._open.values())

    def start(self, partition: TopicPartition, offset: int) -> None:
        """A record was read. Records of one partition are started in their order."""
        with self._lock:
            self._open.setdefault(partition, {})[offset] = False

    def finish(self, partition: TopicPartition, offset: int) -> None:
        """A record has had its effect. One that is not open, as after `forget`, changes nothing."""
        with self._lock:
            records = self._open.get(partition, {})
            if offset in records:
                records[offset] = True
            for first in list(takewhile(records.__getitem__, records)):
                del records[first]
                self._ready[partition] = first + 1

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions went to another member, which reads on from what was committed."""
        with self._lock:
            for partition in partitions:
                self._open.pop(partition, None)
                self._ready.pop(partition, None)

    def take_committable(self) -> dict[TopicPartition, int]:
        """The offsets that moved on since the last call, one a partition."""
        with self._lock:
            ready, self._ready = self._ready, {}
            return ready

    def put_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets that could not be committed, to be taken again; those of partitions that went are dropped."""
        with self._lock:
            self._ready = {p: offset for p, offset in offsets.items() if p in self._open} | self._ready

    def commit(self, consumer: KafkaConsumer, stage: str) -> None:
        """Commit what is committable; what the group refuses, because it is dealing out partitions, is kept."""
        ready = self.take_committable()
        owned = consumer.assignment()
        offsets = {p: OffsetAndMetadata(offset, "", -1) for p, offset in ready.items() if p in owned}
        if not offsets:
            return
        try:
            consumer.commit(offsets)
        except KafkaError as error:
            log.info("commit refused", stage=stage, error=repr(error))
            self.put_back({p: ready[p] for p in offsets})
