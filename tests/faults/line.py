"""The streaming half of the platform in real processes, which a test may kill and bring back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from loreline.client import FeaturesClient
from services.cli.local_processes import LocalProcesses, free_port
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.model_registry import ModelRegistry
from services.runtime.kafka_clients import KafkaConsumer, KafkaProducer
from tests.faults.event_flow import MAX_VALUE_BYTES, Record
from tests.model_versions import of_encoder, register_version
from tests.processes import running
from tests.small_encoder import save_small_encoder
from tests.waiting import LONG_SECONDS, wait_until, wait_until_serving

PROCESSES = ("broker", "knowledge", "embedding", "features", "updater")
STAGES = {
    "content": "items",
    "knowledge": "items",
    "interactions": "interactions",
    "preferences": "interactions",
}  # and the topic that each follows
PARTITIONS = 4
Place = tuple[str, int, int]  # of a record: topic, partition and offset


@dataclass
class Line:
    """Running processes with a promoted version, and what was acknowledged by the broker."""

    processes: LocalProcesses
    features: FeaturesClient
    broker: str
    sent: dict[Place, int]  # position among all records sent to its topic

    def send(self, records: Sequence[Record], pause_seconds: float = 0.0, topic: str = "items") -> None:
        """Send records in order, and wait until all are acknowledged."""
        producer = KafkaProducer(bootstrap_servers=self.broker, acks="all", linger_ms=5, enable_idempotence=True)
        first, pending = sum(place[0] == topic for place in self.sent), []
        for key, value in records:
            pending.append(producer.send(topic, key=key, value=value))
            if pause_seconds:
                time.sleep(pause_seconds)
        for position, future in enumerate(pending):
            at = future.get(timeout=240)
            self.sent[topic, at.partition, at.offset] = first + position
        producer.close()

    def kill(self, name: str) -> None:
        """End it with SIGKILL, without a word; it is gone when this returns."""
        pid = self.processes.status(name).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processes.status(name).pid is None, 30, f"{name} to be gone")

    def revive(self, name: str) -> None:
        """Start a process that was killed, and wait until it is ready."""
        self.processes.start(name)
        self.processes.wait_until(name, lambda status: status.ready)

    def hanging(self, name: str) -> AbstractContextManager[None]:
        """The process holds its connections and answers nobody while the block runs."""
        pid = self.processes.status(name).pid
        assert pid is not None
        return hanging(pid)

    @contextmanager
    def another_updater(self) -> Iterator[None]:
        """One more member of the updater's groups while the block runs; it leaves as SIGTERM makes it."""
        own = {"LORELINE_UPDATER_LISTEN_ADDRESS": f"127.0.0.1:{free_port(0)}"}
        environment = os.environ | self.processes.environment("updater") | own
        command = [sys.executable, "-m", "services.updater"]
        with running(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as member:
            wait_until_serving(own["LORELINE_UPDATER_LISTEN_ADDRESS"], member)
            yield
            member.terminate()
            assert member.wait(LONG_SECONDS) == 0

    def wait_until_done(self, seconds: float, stages: Iterable[str] = STAGES) -> None:
        """Wait until the stages have committed everything that was sent to their topics."""
        for stage in stages:
            self._wait_until_finished(stage, seconds)

    def dead_letters(self) -> list[ConsumerRecord]:
        """All dead letters."""
        return self.records("dead-letters")

    def records(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic."""
        reader = KafkaConsumer(topic, bootstrap_servers=self.broker, auto_offset_reset="earliest")
        found: list[ConsumerRecord] = []
        while polled := [r for records in reader.poll(timeout_ms=3000).values() for r in records]:
            found += polled
        reader.close()
        return found

    def _wait_until_finished(self, stage: str, seconds: float) -> None:
        wait_until(lambda: not self._left(stage), seconds, lambda: f"{stage} to finish; it lacks {self._left(stage)}")

    def _ends(self, topic: str) -> dict[TopicPartition, int]:
        ends: dict[TopicPartition, int] = {}
        for name, number, offset in self.sent:
            if name == topic:
                ends[TopicPartition(topic, number)] = max(offset + 1, ends.get(TopicPartition(topic, number), 0))
        return ends

    def _left(self, stage: str) -> dict[TopicPartition, int]:
        """Records that the stage has not committed, by partition; more is committed where a producer sent one again."""
        reader = KafkaConsumer(bootstrap_servers=self.broker, group_id=f"updater-{stage}")
        left = {place: end - (reader.committed(place) or 0) for place, end in self._ends(STAGES[stage]).items()}
        reader.close()
        return {place: records for place, records in left.items() if records > 0}


@contextmanager
def running_line(
    home: Path, names: Sequence[str] = PROCESSES, provider: str = "catalogue", **variables: str
) -> Iterator[Line]:
    """Processes on free ports over an empty home, with one promoted version; `variables` as LORELINE_NAME.

    The encoder is a small one: what is tested is what becomes of events, thousands of them.
    """
    settings = CliSettings(home=home, knowledge_provider=provider, preferred_ports=False)
    encoder = str(save_small_encoder(home / "small-encoder"))
    register_version(ModelRegistry(settings.model_registry), promote=True, **of_encoder(encoder))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LORELINE_EMBEDDING_ENCODER", encoder)
        environment.setenv("LORELINE_UPDATER_FETCH_WAIT_SECONDS", "0.02")
        environment.setenv("LORELINE_UPDATER_SESSION_TIMEOUT_SECONDS", "6")
        environment.setenv("LORELINE_UPDATER_MAX_VALUE_BYTES", str(MAX_VALUE_BYTES))
        environment.setenv("LORELINE_UPDATER_MAX_RETRY_BACKOFF_SECONDS", "2")
        environment.setenv("LORELINE_UPDATER_KNOWLEDGE_BATCH_RECORDS", "32")
        environment.setenv("LORELINE_UPDATER_TOPIC_PARTITIONS", str(PARTITIONS))
        environment.setenv("LORELINE_UPDATER_INTERACTIONS_PARTITIONS", str(PARTITIONS))
        for name, value in variables.items():
            environment.setenv(f"LORELINE_{name}", value)
        processes = start_processes(settings, names, show=False)
        try:
            with FeaturesClient(processes.address("features"), timeout_seconds=100) as features:
                yield Line(processes, features, processes.address("broker"), {})
        finally:
            list(processes.stop())


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """The process does nothing while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
