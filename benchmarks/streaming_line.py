"""The streaming half of the platform in real processes, what is published to it, and when it arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from kafka import TopicPartition

from benchmarks.model_version import GENRES, promote_random_version
from loreline.client import ClientError, FeaturesClient, is_serving
from loreline.client.catalog import CatalogEvent, interaction_logged, item_upserted
from loreline.domain import Item, PackedItem
from services.cli.local_processes import LocalProcesses, free_port
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.embedding.encoder_export import exported_encoder
from services.model_registry import ModelRegistry
from services.runtime.kafka_clients import KafkaConsumer, KafkaProducer

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
PROCESSES = ("broker", "knowledge", "embedding", "features", "updater")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Line:
    """Running processes with an active model version, one updater, and all that arrives in features."""

    processes: LocalProcesses
    features: FeaturesClient
    arrivals: Arrivals
    producer: KafkaProducer
    stub: psutil.Process

    @property
    def broker(self) -> str:
        """host:port of the broker."""
        return self.processes.address("broker")

    def send(self, topic: str, event: CatalogEvent) -> None:
        """Hand one event to the producer."""
        self.producer.send(topic, key=event.key, value=event.value, headers=event.headers)

    def publish(self, items: Sequence[Item], rate: float = 0.0) -> dict[str, float]:
        """Hand over items, so many in a second or at once; returns when each was due, by the monotonic clock."""
        began, due = time.monotonic(), {}
        for number, item in enumerate(items):
            due[item.item_id] = began + number / rate if rate else time.monotonic()
            if (pause := due[item.item_id] - time.monotonic()) > 0:
                time.sleep(pause)
            self.send("items", item_upserted(item))
        self.producer.flush(timeout=START_SECONDS)
        return due

    def publish_interactions(self, users: Sequence[str], item_ids: Sequence[str]) -> None:
        """Each user acts on every item."""
        for item_id in item_ids:
            for user_id in users:
                self.send("interactions", interaction_logged(user_id, item_id, "movies", 4.0))
        self.producer.flush(timeout=START_SECONDS)

    def wait_until_committed(self, topic: str, group: str, seconds: float) -> None:
        """Wait until a consumer group has committed all that the topic holds."""
        reader = KafkaConsumer(bootstrap_servers=self.broker, group_id=group, enable_auto_commit=False)
        parts = [TopicPartition(topic, number) for number in reader.partitions_for_topic(topic) or ()]
        ends = reader.end_offsets(parts)
        try:
            wait_for(lambda: all((reader.committed(p) or 0) >= ends[p] for p in parts), seconds, f"{group} to finish")
        finally:
            reader.close()

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of each process so far, threads and system calls included; `benchmark` is this one."""
        found = {name: psutil.Process(pid) for name in PROCESSES if (pid := self.processes.status(name).pid)}
        found |= {"language model stub": self.stub, "benchmark": psutil.Process()}
        return {name: sum(process.cpu_times()[:2]) for name, process in found.items()}

    @contextmanager
    def another_updater(self) -> Iterator[None]:
        """One more member of the updater's groups while the block runs."""
        address = f"127.0.0.1:{free_port(0)}"
        own = self.processes.environment("updater") | {"LORELINE_UPDATER_LISTEN_ADDRESS": address}
        with _process(["-m", "services.updater"], own) as process:
            wait_for(lambda: is_serving(address, "readiness"), START_SECONDS, "a second updater", process)
            yield


class Arrivals:
    """Watches features, as ranking does: when an item's content, and when its knowledge, could first be ranked with."""

    def __init__(self, address: str) -> None:
        self.content: dict[str, float] = {}  # by the monotonic clock
        self.knowledge: dict[str, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._watch, args=(address,), daemon=True).start()

    def wait(self, seen: Mapping[str, float], item_ids: Sequence[str], seconds: float) -> None:
        """Wait until all the items are among the seen ones, `content` or `knowledge`."""
        end = time.monotonic() + seconds
        with self._changed:
            while missing := sum(item_id not in seen for item_id in item_ids):
                if not self._changed.wait(max(0.0, min(5.0, end - time.monotonic()))) and time.monotonic() > end:
                    raise SystemExit(f"{missing} of {len(item_ids)} items did not arrive within {seconds:.0f} s")

    def _watch(self, address: str) -> None:
        with FeaturesClient(address) as features:
            try:
                for batch in features.watch():
                    self._note(time.monotonic(), batch.items)
            except ClientError:
                pass  # the line was stopped

    def _note(self, now: float, items: Sequence[PackedItem]) -> None:
        with self._changed:
            for item in items:
                self.content.setdefault(item.item_id, now)
                if item.augmented:
                    self.knowledge.setdefault(item.item_id, now)
            self._changed.notify_all()


@contextmanager
def running_line(home: Path, provider: str, variables: Mapping[str, str]) -> Iterator[Line]:
    """The processes over an empty home; `variables` are LORELINE_ settings of theirs."""
    settings = CliSettings(home=home, knowledge_provider=provider, preferred_ports=False)
    with ExitStack() as stack:
        encoder = exported_encoder(DEFAULT_ENCODER).name
        promote_random_version(ModelRegistry(settings.model_registry), items=100, encoder=encoder)
        port = free_port(0)
        stub = stack.enter_context(_process(["-m", "benchmarks.language_model_stub", "--port", str(port)], {}))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(f"{url}/health"), START_SECONDS, "the language model stub", stub)
        own = {"LORELINE_KNOWLEDGE_TGI_URL": url, "LORELINE_KNOWLEDGE_DEFAULT_PROVIDER": provider}
        own["LORELINE_UPDATER_FETCH_WAIT_SECONDS"] = "0.02"  # the local broker answers only when a wait is over
        stack.enter_context(_environment(own | dict(variables)))
        processes = start_processes(settings, PROCESSES, show=False)
        stack.callback(lambda: list(processes.stop()))
        features = stack.enter_context(FeaturesClient(processes.address("features"), timeout_seconds=60))
        producer = KafkaProducer(bootstrap_servers=processes.address("broker"), acks="all", enable_idempotence=True)
        stack.callback(producer.close, timeout=5)
        arrivals = Arrivals(processes.address("features"))
        yield Line(processes, features, arrivals, producer, psutil.Process(stub.pid))


def films(prefix: str, count: int) -> list[Item]:
    """Items whose prompts differ."""
    return [
        Item(f"{prefix}-{n}", "movies", f"Film {prefix} {n}", {"genres": [GENRES[n % 18]], "year": 1985.0})
        for n in range(count)
    ]


def wait_for(
    condition: Callable[[], bool], seconds: float, what: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until the condition holds; ends the benchmark when it does not, or when the process has ended."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


@contextmanager
def _process(arguments: Sequence[str], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
