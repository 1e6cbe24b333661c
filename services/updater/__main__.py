"""The updater process: two consumer groups on the items topic, and a health service."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from tenacity import retry, retry_if_exception_type, stop_when_event_set, wait_random_exponential

from loreline.client import EmbeddingClient, FeaturesClient, KnowledgeClient, is_serving
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings
from services.runtime.server import ServerOptions, serve
from services.updater.consumer import GroupMembership, StageConsumer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.events import Event, decode
from services.updater.settings import UpdaterSettings
from services.updater.stages import ContentStage, KnowledgeStage, Stage
from services.updater.topics import create_missing_topics

log = structlog.get_logger(__name__)


def main() -> None:
    """Read settings, connect, consume in two threads, serve health, drain on SIGTERM."""
    settings = read_settings(UpdaterSettings)
    configure_logs("updater", settings.log_level)
    knowledge = KnowledgeClient(settings.knowledge_address, settings.knowledge_timeout_seconds)
    embedding = EmbeddingClient(settings.embedding_address)
    features = FeaturesClient(settings.features_address)
    stages: list[tuple[Stage, int]] = [
        (ContentStage(features), settings.content_batch_records),
        (KnowledgeStage(knowledge, embedding, features, settings.knowledge_provider), settings.knowledge_batch_records),
    ]
    stopping = threading.Event()
    members = [_start(stage, batch_records, settings, stopping) for stage, batch_records in stages]

    def close() -> None:
        stopping.set()
        for member in members:
            member.thread.join(timeout=settings.session_timeout_seconds)
        for client in (knowledge, embedding, features):
            client.close()

    serve(ServerOptions(settings.listen_address), [], _checks(settings, members), close)


@dataclass(frozen=True)
class Member:
    """One stage's thread, and whether its consumer is in the group."""

    thread: threading.Thread
    membership: GroupMembership

    @property
    def consuming(self) -> bool:
        """Whether records are read."""
        return self.thread.is_alive() and self.membership.joined


def _start(stage: Stage, batch_records: int, settings: UpdaterSettings, stopping: threading.Event) -> Member:
    membership = GroupMembership()
    thread = threading.Thread(
        target=_consume, args=(stage, batch_records, settings, membership, stopping), name=stage.name, daemon=True
    )
    thread.start()
    return Member(thread, membership)


def _consume(
    stage: Stage,
    batch_records: int,
    settings: UpdaterSettings,
    membership: GroupMembership,
    stopping: threading.Event,
) -> None:
    backoff = wait_random_exponential(settings.retry_backoff_seconds, settings.max_retry_backoff_seconds)
    connect = retry(wait=backoff, stop=stop_when_event_set(stopping), retry=retry_if_exception_type(KafkaError))
    consumer, dead_letters = connect(_connect)(stage, settings, membership)
    StageConsumer(
        consumer=consumer,
        stage=stage,
        decode=partial(_decode, settings.max_value_bytes),
        dead_letters=dead_letters,
        owns_undecodable=stage.name == "content",
        batch_records=batch_records,
        max_attempts=settings.max_attempts,
        backoff=backoff,
        stopping=stopping,
    ).run()
    dead_letters.close()


def _connect(
    stage: Stage, settings: UpdaterSettings, membership: GroupMembership
) -> tuple[KafkaConsumer, DeadLetterTopic]:
    if settings.create_topics:
        topics = [settings.items_topic, settings.dead_letter_topic]
        create_missing_topics(settings.bootstrap_servers, topics, settings.topic_partitions)
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers.split(","),
        group_id=f"{settings.consumer_group}-{stage.name}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=int(settings.session_timeout_seconds * 1000),
        heartbeat_interval_ms=int(settings.session_timeout_seconds * 1000 / 4),
        fetch_max_wait_ms=10,  # an item should be rankable at once, not after a batch has filled
    )
    consumer.subscribe([settings.items_topic], listener=membership)
    log.info("joining", stage=stage.name, topic=settings.items_topic)
    return consumer, DeadLetterTopic(settings.bootstrap_servers, settings.dead_letter_topic)


def _decode(max_bytes: int, record: ConsumerRecord) -> Event:
    return decode(record.key, record.value, dict(record.headers), max_bytes)


def _checks(settings: UpdaterSettings, members: list[Member]) -> dict[str, Callable[[], bool]]:
    return {
        "kafka": partial(_any_broker_accepts, settings.bootstrap_servers),
        "knowledge": partial(is_serving, settings.knowledge_address),
        "embedding": partial(is_serving, settings.embedding_address),
        "features": partial(is_serving, settings.features_address),
        "consumers": lambda: all(member.consuming for member in members),
    }


def _any_broker_accepts(bootstrap_servers: str) -> bool:
    return any(_accepts(server) for server in bootstrap_servers.split(","))


def _accepts(server: str) -> bool:
    host, port = server.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
