"""Builds each stage with its consumer from the settings and the process' connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from kafka.consumer.fetcher import ConsumerRecord

from loreline.client import EmbeddingClient, FeaturesClient, KnowledgeClient
from loreline.domain import Item, UserHistory
from services.updater.consumer import StageConsumer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.events import Event, Stream, decode
from services.updater.knowledge_consumer import KnowledgeConsumer, Pace
from services.updater.knowledge_pipeline import KnowledgePipeline
from services.updater.knowledge_stage import KnowledgeStage
from services.updater.leading_group import LeadingGroup
from services.updater.metrics import UpdaterMetrics
from services.updater.popularity import Popularity
from services.updater.preferences_stage import PreferencesStage
from services.updater.priorities import ItemPriorities, user_priorities
from services.updater.publications import Publications
from services.updater.refresh_policy import RefreshPolicy
from services.updater.settings import UpdaterSettings
from services.updater.stages import ContentStage, InteractionsStage, Stage
from services.updater.token_bucket import TokenBucket


@dataclass(frozen=True)
class Connections:
    """What the stages talk to, and what they share."""

    knowledge: KnowledgeClient
    embedding: EmbeddingClient
    features: FeaturesClient
    dead_letters: DeadLetterTopic
    publications: Publications
    popularity: Popularity
    metrics: UpdaterMetrics


def content_consumer(settings: UpdaterSettings, to: Connections) -> StageConsumer:
    """Items become rankable at once."""
    batch_records, linger_seconds = settings.content_batch_records, settings.content_linger_seconds
    stage = ContentStage(to.features, to.metrics)
    return _stage_consumer(settings, to, stage, "items", batch_records, linger_seconds)


def interactions_consumer(settings: UpdaterSettings, to: Connections) -> StageConsumer:
    """Users' histories are complete at once."""
    batch_records, linger_seconds = settings.interactions_batch_records, settings.interactions_linger_seconds
    stage = InteractionsStage(to.features, to.popularity, to.metrics)
    return _stage_consumer(settings, to, stage, "interactions", batch_records, linger_seconds)


def knowledge_consumer(settings: UpdaterSettings, to: Connections) -> KnowledgeConsumer:
    """Items become better as soon as a language model has answered."""
    pace = _pace(
        settings, settings.knowledge_workers, settings.knowledge_batch_records, settings.knowledge_queue_records
    )
    stage, decoder, priorities = (
        knowledge_stage(settings, to),
        _decoder(settings, "items"),
        ItemPriorities(to.popularity),
    )
    return KnowledgeConsumer(stage, decoder, priorities, to.dead_letters, to.metrics, pace)


def preferences_consumer(settings: UpdaterSettings, to: Connections) -> KnowledgeConsumer:
    """Users' preferences stay fresh."""
    pace = _pace(
        settings, settings.preferences_workers, settings.preferences_batch_records, settings.preferences_queue_records
    )
    stage, decoder = preferences_stage(settings, to), _decoder(settings, "interactions")
    leading = LeadingGroup(settings.bootstrap_servers, f"{settings.consumer_group}-interactions")
    return KnowledgeConsumer(stage, decoder, user_priorities, to.dead_letters, to.metrics, pace, leading)


def knowledge_stage(settings: UpdaterSettings, to: Connections) -> KnowledgeStage:
    """The stage of items' knowledge."""
    pipeline: KnowledgePipeline[Item] = KnowledgePipeline(
        stage="knowledge",
        kind="item",
        ask=lambda scenario, items: to.knowledge.generate_for_items(scenario, items, settings.knowledge_provider),
        store=lambda news: to.features.put_knowledge([(one.stamp, one.subject_id, one.vectors) for one in news]),
        embedding=to.embedding,
        publications=to.publications,
        metrics=to.metrics,
    )
    return KnowledgeStage(pipeline, to.features, to.publications)


def preferences_stage(settings: UpdaterSettings, to: Connections) -> PreferencesStage:
    """The stage of users' preferences."""
    pipeline: KnowledgePipeline[UserHistory] = KnowledgePipeline(
        stage="preferences",
        kind="user",
        ask=lambda scenario, users: to.knowledge.generate_for_users(scenario, users, settings.knowledge_provider),
        store=lambda news: [to.features.put_user_knowledge(one.subject_id, one.stamp, one.vectors) for one in news],
        embedding=to.embedding,
        publications=to.publications,
        metrics=to.metrics,
    )
    policy = RefreshPolicy(
        settings.preference_minimum_interactions,
        settings.preference_refresh_interactions,
        timedelta(hours=settings.preference_refresh_hours),
    )
    limit = TokenBucket(settings.preference_refreshes_per_hour)
    return PreferencesStage(pipeline, to.features, policy, limit, settings.preference_entries, to.metrics)


def _stage_consumer(
    settings: UpdaterSettings, to: Connections, stage: Stage, stream: Stream, records: int, linger_seconds: float
) -> StageConsumer:
    return StageConsumer(
        stage=stage,
        decode=_decoder(settings, stream),
        dead_letters=to.dead_letters,
        metrics=to.metrics,
        batch_records=records,
        linger_seconds=linger_seconds,
        max_attempts=settings.max_attempts,
        backoff=settings.backoff,
    )


def _pace(settings: UpdaterSettings, workers: int, batch_records: int, queue_records: int) -> Pace:
    return Pace(
        workers=workers,
        batch_records=batch_records,
        queue_records=queue_records,
        max_attempts=settings.max_attempts,
        backoff=settings.backoff,
        budget_pause_seconds=settings.budget_pause_seconds,
        drain_seconds=settings.session_timeout_seconds / 2,
    )


def _decoder(settings: UpdaterSettings, stream: Stream) -> Callable[[ConsumerRecord], Event]:
    return partial(_decode, settings.max_value_bytes, timedelta(seconds=settings.max_future_seconds), stream)


def _decode(max_bytes: int, max_future: timedelta, stream: Stream, record: ConsumerRecord) -> Event:
    latest = datetime.now(UTC) + max_future
    return decode(record.key, record.value, dict(record.headers), max_bytes, stream, latest)
