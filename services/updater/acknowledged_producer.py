"""Writes records to Kafka, and returns only when all replicas have them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from kafka.errors import KafkaError, KafkaTimeoutError

from services.runtime.kafka_clients import KafkaProducer

LARGEST_REQUEST_BYTES = 4 * 1024 * 1024  # a dead letter is larger than the record that it holds


@dataclass(frozen=True)
class OutgoingRecord:
    """One record to write. `value` None is a tombstone: a compacted topic forgets the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class AcknowledgedProducer:
    """One connection for all that a process writes, made when it is first needed. Safe to share between threads.

    Records of one partition keep the order in which they were sent, also when the broker has to be asked again.
    """

    def __init__(self, bootstrap_servers: str, timeout_seconds: float = 10.0) -> None:
        self._servers, self._timeout = bootstrap_servers.split(","), timeout_seconds
        self._connecting = threading.Lock()
        self._producer: KafkaProducer | None = None

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        """Write records together. Raises kafka.errors.KafkaError when one of them was not acknowledged in time.

        Then some may have been written all the same: whoever sends them again sends them at least once.
        """
        producer = self._connected()
        try:
            sent = [producer.send(r.topic, key=r.key, value=r.value, headers=list(r.headers)) for r in records]
            producer.flush(self._timeout)
            for one in sent:
                one.get(timeout=self._timeout)
        except KafkaError:
            self._disconnect(producer)  # after some errors, as a sent record's timeout, this one never sends again
            raise

    def close(self) -> None:
        """Close the connection; what was not acknowledged may be lost, and was never said to be written."""
        if self._producer is not None:
            self._disconnect(self._producer)

    def _connected(self) -> KafkaProducer:
        if not self._connecting.acquire(timeout=self._timeout):
            raise KafkaTimeoutError(f"no connection to {','.join(self._servers)} in {self._timeout:g} s")
        try:
            self._producer = self._producer or KafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                max_request_size=LARGEST_REQUEST_BYTES,
                bootstrap_timeout_ms=int(self._timeout * 1000),
                max_block_ms=int(self._timeout * 1000),
                delivery_timeout_ms=int(self._timeout * 1000),  # what timed out is not written behind our back
                request_timeout_ms=int(self._timeout * 500),
            )
            return self._producer
        finally:
            self._connecting.release()

    def _disconnect(self, producer: KafkaProducer) -> None:
        with self._connecting:
            if self._producer is producer:
                self._producer = None
        producer._sender.force_close()  # close() alone waits for records that can never be sent, and leaves its thread
        with suppress(KafkaError):
            producer.close(timeout=self._timeout)
