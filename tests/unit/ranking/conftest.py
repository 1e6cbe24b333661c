"""The ranking service over real gRPC, beside a features service that keeps everything in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from catalogue import ITEMS, USER
from memory_features import MemoryFeatures
from model_versions import register_version
from ranking_parts import Ranking, serve_features

from loreline.client import EmbeddingClient, FeaturesClient, RankingClient
from services.cli.local_processes import free_port
from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.servicer import service as embedding_service
from services.model_registry import ModelRegistry
from services.ranking.active_model import ActiveModel
from services.ranking.explainer import Explainer
from services.ranking.feature_reads import PublicReads
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.item_index import ItemIndex
from services.ranking.loading import ModelLoader
from services.ranking.metrics import RankingMetrics
from services.ranking.ranker import Ranker
from services.ranking.recommender import Recommender
from services.ranking.request_reads import RequestReads
from services.ranking.request_stream import RequestStreams
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.ranking.servicer import SERVICE_NAME, Logic, service
from services.ranking.shadow import Shadow
from services.runtime.admission import Admission
from services.runtime.backoff import Backoff
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server
from tests.waiting import wait_until


@pytest.fixture
def features_address() -> str:
    return f"127.0.0.1:{free_port(0)}"


@pytest.fixture
def unused_address() -> str:
    return f"127.0.0.1:{free_port(0)}"


@pytest.fixture
def store(features_address: str) -> Iterator[MemoryFeatures]:
    """What the features service holds."""
    features = MemoryFeatures()
    server = serve_features(features, features_address)
    yield features
    features.close()
    server.stop(0).wait()


@pytest.fixture
def features_client(features_address: str) -> Iterator[FeaturesClient]:
    with FeaturesClient(features_address, timeout_seconds=2) as client:
        yield client


@pytest.fixture
def max_cached_items() -> int:
    """The cache's bound; a test that needs one overrides this."""
    return 0


@pytest.fixture
def max_cache_lag_seconds() -> float:
    """How long the stream may be cut before the cache is not asked; overridden as above."""
    return 1.0


@pytest.fixture
def with_index() -> bool:
    """Whether Recommend is served; overridden as above."""
    return False


@pytest.fixture
def embedding_client(registry: ModelRegistry) -> Iterator[EmbeddingClient]:
    """The embedding service's adapter; ranking asks it for nothing else, so there is no encoder."""
    parts = embedding_service(cast("Encoder", None), Adapter(registry))
    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [parts], HealthMonitor({}, []))
    address = server.address
    with EmbeddingClient(address, timeout_seconds=100) as client:
        yield client
    server.stop(0).wait()


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry")


@pytest.fixture
def unpromoted(
    store: MemoryFeatures,
    features_client: FeaturesClient,
    embedding_client: EmbeddingClient,
    registry: ModelRegistry,
    max_cached_items: int,
    max_cache_lag_seconds: float,
    with_index: bool,
) -> Iterator[Ranking]:
    """A ranking service before any promotion."""
    cache = ItemCache(max_items=max_cached_items)
    feed = ItemFeed(
        features_client,
        cache,
        backoff=Backoff(0.02, 0.1),
        max_lag_seconds=max_cache_lag_seconds,
    )
    active = ActiveModel(
        registry,
        ModelLoader(registry, ScorerOpener(ScorerOptions()), cache).load,
        poll_seconds=0.02,
        backoff=Backoff(0.02, 0.1),
    )
    metrics = RankingMetrics()
    shadow = Shadow(metrics)
    reads = RequestReads(PublicReads(features_client), cache, feed.is_current, metrics.cache_read)
    ranker = Ranker(reads, active, [metrics, shadow])
    admission = Admission(8, 1.0, metrics.refused)
    metrics.follow(active, cache, admission)
    shadow.start(Ranker(reads, active).rank)
    feed.start()
    active.start()
    pool = ThreadPoolExecutor(8)
    streams = RequestStreams(pool)

    health = HealthMonitor({"items": feed.caught_up, "model": active.ready}, [SERVICE_NAME], interval_seconds=0.05)
    index = ItemIndex()
    index_feed = ItemFeed(features_client, index, backoff=Backoff(0.02, 0.1))
    metrics.follow_index(index.sizes)
    recommender = None
    if with_index:
        index_feed.start()
        recommender = Recommender(reads, active, ranker, index, index_feed.caught_up, candidates=20)
    explainer = Explainer(reads, active, features_client, embedding_client)
    logic = Logic(ranker, streams, explainer, recommender, admission)
    server = start_server(ServerOptions("127.0.0.1:0", workers=16, admission=admission), [service(logic)], health)
    address = server.address
    with RankingClient(address, timeout_seconds=100) as client:
        yield Ranking(client, cache, feed, active, ranker, streams, metrics.registry, address)
    shadow.stop()
    health.stop()
    feed.stop()
    index_feed.stop()
    active.stop()
    server.stop(0).wait()
    pool.shutdown()


@pytest.fixture
def ranking(unpromoted: Ranking, registry: ModelRegistry) -> Ranking:
    """A ranking service with version 1 active."""
    register_version(registry, promote=True)
    wait_until(unpromoted.active.ready)
    return unpromoted


@pytest.fixture
def stocked(ranking: Ranking, store: MemoryFeatures, max_cached_items: int) -> Ranking:
    """Ranking with a small catalogue in its cache and a user in the store."""
    store.put(*ITEMS)
    store.put_user(USER)
    ranking.holds(min(len(ITEMS), max_cached_items or len(ITEMS)))
    return ranking
