"""The ranking process: an item cache, the active model version, and its scorer in this process or in Triton."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from feature_repo.redis_connection import redis_client
from loreline.client import ClientOptions, EmbeddingClient, FeaturesClient
from services.model_registry import ModelRegistry
from services.ranking.active_model import ActiveModel
from services.ranking.direct_reads import DirectReads
from services.ranking.explainer import Explainer
from services.ranking.feature_reads import FeatureReads, PublicReads
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import Follower, ItemFeed
from services.ranking.item_index import ItemIndex
from services.ranking.loading import LanguageModelLimits, ModelLoader
from services.ranking.metrics import RankingMetrics
from services.ranking.ranker import Ranker
from services.ranking.recommender import Recommender
from services.ranking.request_reads import RequestReads
from services.ranking.request_stream import RequestStreams
from services.ranking.reranking import Reranking
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.ranking.servicer import Logic, service
from services.ranking.settings import RankingSettings
from services.ranking.shadow import Shadow
from services.runtime.admission import Admission
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings
from services.runtime.server import ServerOptions, serve
from services.runtime.worker_processes import run_processes

TURNS_PER_CORE = 4  # a request waits for features, and for Triton, about as long as it computes


def main() -> None:
    """Read settings, then serve, in as many processes as they say."""
    settings = read_settings(RankingSettings)
    configure_logs("ranking", settings.log_level)
    run_processes(ServerOptions(settings.listen_address, processes=settings.processes), partial(_serve, settings))


def _serve(settings: RankingSettings) -> None:
    """Follow items and the active version, serve, drain on SIGTERM."""
    metrics = RankingMetrics()
    serve_metrics(metrics.registry, settings.metrics_address)
    features = FeaturesClient(
        settings.features_address,
        settings.features_timeout_seconds,
        ClientOptions(keepalive_seconds=settings.features_keepalive_seconds),
    )
    embedding = EmbeddingClient(settings.embedding_address) if settings.embedding_address else None
    scorers = ScorerOpener(_scorer_options(settings))
    cache = ItemCache(max_items=settings.max_cached_items)
    feed = _feed(settings, features, cache)
    registry = ModelRegistry(settings.model_registry)
    active = ActiveModel(
        registry,
        ModelLoader(registry, scorers, cache, _language_model_limits(settings, metrics)).load,
        poll_seconds=settings.poll_seconds,
        backoff=settings.backoff,
    )
    admission = _admission(settings, metrics)
    metrics.follow(active, cache, admission)
    feed.start()
    active.start()
    stored = _feature_reads(settings, features, metrics)
    reads = RequestReads(stored, cache, feed.is_current, metrics.cache_read)
    shadow = Shadow(metrics, settings.shadow_queue_requests)
    shadow.start(Ranker(reads, active).rank)
    pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="rank stream")
    streams = RequestStreams(pool)
    explainer = Explainer(reads, active, features, embedding)
    reranking = Reranking(
        settings.model_registry,
        settings.rerank_top,
        threads=settings.scorer_threads,
        poll_seconds=settings.poll_seconds,
    )
    reranking.start()
    ranker = Ranker(reads, active, [metrics, shadow], reranking if settings.rerank_top else None)
    index = ItemIndex()
    index_feed = _feed(settings, features, index)
    recommender = None
    if settings.index == "hnsw":
        index_feed.start()
        metrics.follow_index(index.sizes)
        recommender = Recommender(reads, active, ranker, index, index_feed.caught_up, settings.recommend_candidates)
    ranking = service(Logic(ranker, streams, explainer, recommender, admission))

    def close() -> None:
        for part in (feed, index_feed, active, shadow, reranking):
            part.stop()
        pool.shutdown(cancel_futures=True)
        if embedding:
            embedding.close()
        features.close()
        scorers.close()

    checks = _checks(settings, features, feed, index_feed, active, scorers)
    serve(_server_options(settings, admission), [ranking], checks, close, streams.drain)


def _scorer_options(settings: RankingSettings) -> ScorerOptions:
    return ScorerOptions(
        addresses=tuple(address.strip() for address in settings.triton_address.split(",") if address.strip()),
        timeout_seconds=settings.triton_timeout_seconds,
        language_model_timeout_seconds=settings.language_model_timeout_seconds,
        threads=settings.scorer_threads,
        language_model_threads=settings.language_model_threads or _share_of_cores(settings),
        fallback=settings.triton_fallback,
        join_seconds=settings.triton_join_seconds,
        shared_memory=settings.triton_shared_memory,
        backoff=settings.backoff,
    )


def _language_model_limits(settings: RankingSettings, metrics: RankingMetrics) -> LanguageModelLimits:
    return LanguageModelLimits(
        settings.language_model_concurrency,
        settings.language_model_max_queue_seconds,
        settings.language_model_batch,
        metrics.language_model_refused,
        metrics.cut_candidates.inc,
    )


def _share_of_cores(settings: RankingSettings) -> int:
    return max(1, len(os.sched_getaffinity(0)) // settings.processes)


def _feed(settings: RankingSettings, features: FeaturesClient, follower: Follower) -> ItemFeed:
    return ItemFeed(
        features,
        follower,
        backoff=settings.backoff,
        max_lag_seconds=settings.max_cache_lag_seconds,
    )


def _feature_reads(settings: RankingSettings, features: FeaturesClient, metrics: RankingMetrics) -> FeatureReads:
    public = PublicReads(features)
    if not settings.redis_connection:
        return public
    client = redis_client(settings.redis_connection, settings.redis_timeout_seconds)
    return DirectReads(client, public, metrics.direct_read)


def _server_options(settings: RankingSettings, admission: Admission) -> ServerOptions:
    calls = settings.max_concurrent_calls
    return ServerOptions(
        settings.listen_address,
        workers=calls,
        max_concurrent_calls=calls,
        max_streams=settings.max_streams,
        processes=settings.processes,
        admission=admission,
    )


def _admission(settings: RankingSettings, metrics: RankingMetrics) -> Admission:
    share = TURNS_PER_CORE * len(os.sched_getaffinity(0)) // settings.processes
    concurrency = settings.concurrency or max(1, share)
    return Admission(concurrency, settings.max_queue_seconds, metrics.refused)


def _checks(
    settings: RankingSettings,
    features: FeaturesClient,
    feed: ItemFeed,
    index_feed: ItemFeed,
    active: ActiveModel,
    scorers: ScorerOpener,
) -> dict[str, Callable[[], bool]]:
    checks: dict[str, Callable[[], bool]] = {
        "features": features.is_serving,
        "items": feed.caught_up,
        "model": active.ready,
    }
    if settings.index != "none":
        checks["index"] = index_feed.caught_up
    if settings.triton_address and not settings.triton_fallback:
        checks["triton"] = scorers.answers
    return checks


if __name__ == "__main__":
    main()
