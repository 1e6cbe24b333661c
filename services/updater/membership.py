"""One stage's thread: connects to Kafka, joins the stage's consumer group, and works until the process stops."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog
from kafka import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from tenacity import retry, retry_if_exception_type, stop_when_event_set

from services.runtime.kafka_clients import KafkaConsumer
from services.updater.settings import UpdaterSettings
from services.updater.topics import create_missing_topics

log = structlog.get_logger(__name__)


class Consumer(Protocol):
    """What a member's thread runs: the consumer of a stage, and the listener of its subscription."""

    @property
    def joined(self) -> bool:
        """Whether the group has given it its share."""

    def run(self, consumer: KafkaConsumer, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then leave the group."""


@dataclass(frozen=True)
class Member:
    """A stage's thread, its consumer, and whether the thread died: then the process has been told to end."""

    thread: threading.Thread
    consumer: Consumer
    failed: threading.Event

    @property
    def consuming(self) -> bool:
        """Whether records are read."""
        return self.thread.is_alive() and self.consumer.joined


def start_member(
    stage: str, topic: str, consumer: Consumer, settings: UpdaterSettings, stopping: threading.Event
) -> Member:
    """Start a stage's thread, a member of the group PREFIX-STAGE on a topic. If it dies, the process ends."""
    failed, consume = threading.Event(), partial(_consume, stage, topic, consumer, settings, stopping)
    thread = threading.Thread(target=_work, args=(consume, stage, failed), name=stage, daemon=True)
    thread.start()
    return Member(thread, consumer, failed)


def _work(consume: Callable[[], None], stage: str, failed: threading.Event) -> None:
    try:
        consume()
    except Exception:
        log.critical("the stage's thread died: the process ends", stage=stage, exc_info=True)
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)


def _consume(stage: str, topic: str, consumer: Consumer, settings: UpdaterSettings, stopping: threading.Event) -> None:
    connect = retry(
        wait=settings.backoff, stop=stop_when_event_set(stopping), retry=retry_if_exception_type(KafkaError)
    )
    consumer.run(connect(_connect)(stage, topic, consumer, settings), stopping)


def _connect(stage: str, topic: str, listener: ConsumerRebalanceListener, settings: UpdaterSettings) -> KafkaConsumer:
    if settings.create_topics:
        create_missing_topics(settings.bootstrap_servers, settings.topics)
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers.split(","),
        group_id=f"{settings.consumer_group}-{stage}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(CooperativeStickyAssignor,),  # a member that comes stops no other's partitions
        session_timeout_ms=int(settings.session_timeout_seconds * 1000),
        heartbeat_interval_ms=int(settings.session_timeout_seconds * 1000 / 4),
        fetch_max_wait_ms=int(settings.fetch_wait_seconds * 1000),
    )
    consumer.subscribe([topic], listener=listener)
    log.info("joining", stage=stage, topic=topic)
    return consumer
