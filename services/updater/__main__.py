"""The updater process: four consumer groups, two on the items topic and two on the interactions topic, and health."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from loreline.client import EmbeddingClient, FeaturesClient, KnowledgeClient
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings
from services.runtime.server import ServerOptions, serve
from services.updater.acknowledged_producer import AcknowledgedProducer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.membership import Consumer, Member, start_member
from services.updater.metrics import UpdaterMetrics
from services.updater.popularity import Popularity
from services.updater.publications import Publications
from services.updater.settings import UpdaterSettings
from services.updater.stage_builders import (
    Connections,
    content_consumer,
    interactions_consumer,
    knowledge_consumer,
    preferences_consumer,
)

HOUR = 3600.0


def main() -> None:
    """Read settings, connect, consume in four threads, serve health and metrics, drain on SIGTERM.

    Ends with code 1 when one of the threads died.
    """
    settings = read_settings(UpdaterSettings)
    configure_logs("updater", settings.log_level)
    metrics = UpdaterMetrics()
    serve_metrics(metrics.registry, settings.metrics_address)
    knowledge = KnowledgeClient(settings.knowledge_address, settings.knowledge_timeout_seconds)
    embedding = EmbeddingClient(settings.embedding_address)
    features = FeaturesClient(settings.features_address)
    producer = AcknowledgedProducer(settings.bootstrap_servers)
    connections = Connections(
        knowledge=knowledge,
        embedding=embedding,
        features=features,
        dead_letters=DeadLetterTopic(producer, settings.dead_letter_topic),
        publications=Publications(producer, settings.enriched_topic, settings.knowledge_topic, metrics),
        popularity=Popularity(settings.popularity_items, settings.popularity_half_life_hours * HOUR),
        metrics=metrics,
    )
    stopping = threading.Event()
    members = _start(settings, connections, stopping)

    def close() -> None:
        stopping.set()
        end = time.monotonic() + settings.session_timeout_seconds
        for member in members:
            member.thread.join(timeout=max(0.0, end - time.monotonic()))
        for part in (producer, knowledge, embedding, features):
            part.close()

    serve(ServerOptions(settings.listen_address), [], _checks(settings, connections, members), close)
    if any(member.failed.is_set() for member in members):
        sys.exit(1)


def _start(settings: UpdaterSettings, connections: Connections, stopping: threading.Event) -> list[Member]:
    items, interactions = settings.items_topic, settings.interactions_topic
    consumers: dict[str, tuple[str, Consumer]] = {
        "content": (items, content_consumer(settings, connections)),
        "knowledge": (items, knowledge_consumer(settings, connections)),
        "interactions": (interactions, interactions_consumer(settings, connections)),
        "preferences": (interactions, preferences_consumer(settings, connections)),
    }
    return [start_member(stage, topic, consumer, settings, stopping) for stage, (topic, consumer) in consumers.items()]


def _checks(
    settings: UpdaterSettings, connections: Connections, members: Sequence[Member]
) -> dict[str, Callable[[], bool]]:
    return {
        "kafka": partial(_any_broker_accepts, settings.bootstrap_servers),
        "knowledge": connections.knowledge.is_serving,
        "embedding": connections.embedding.is_serving,
        "features": connections.features.is_serving,
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
