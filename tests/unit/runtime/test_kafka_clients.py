"""Kafka's clients in several threads, and without a broker."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading

import psutil
import pytest
from kafka.errors import KafkaError

from services.runtime.kafka_clients import KafkaAdminClient, KafkaConsumer, KafkaProducer


def test_clients_that_begin_at_once_leave_answers_readable(broker: str) -> None:
    """Also where both threads are the first to read an answer of its version."""
    script = "tests.unit.runtime.kafka_clients_at_once"
    command = [sys.executable, "-m", script, "services.runtime.kafka_clients", broker]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "all three began\n", done.stderr[-2000:]


@pytest.mark.parametrize("kind", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_a_client_without_a_broker_leaves_nothing_behind(kind: type, caplog: pytest.LogCaptureFixture) -> None:
    """A process may wait for its broker for days."""
    caplog.set_level(logging.CRITICAL, "kafka")  # what is logged holds on to the frames that hold the sockets

    def held() -> tuple[int, int]:
        gc.collect()
        return len([t for t in threading.enumerate() if t.name.startswith("kafka")]), psutil.Process().num_fds()

    before = held()
    for _ in range(3):
        with pytest.raises(KafkaError):
            kind(bootstrap_servers="127.0.0.1:9", bootstrap_timeout_ms=200)
    assert held() == before
