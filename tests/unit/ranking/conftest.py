"""The ranking service over real gRPC, beside a features service that keeps everything in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from memory_features import MemoryFeatures
from model_versions import register_version
from ranking_parts import Ranking, serve_features, wait_until

from loreline.client import FeaturesClient, RankingClient
from loreline.ranking.v1 import ranking_pb2_grpc
from services.cli.local_processes import free_port
from services.model_registry import ModelRegistry
from services.ranking.active_model import ActiveModel
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.ranker import Ranker
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.servicer import SERVICE_NAME, RankingServicer
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server


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
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry")


@pytest.fixture
def unpromoted(store: MemoryFeatures, features_client: FeaturesClient, registry: ModelRegistry) -> Iterator[Ranking]:
    """A ranking service before any promotion."""
    cache = ItemCache()
    feed = ItemFeed(features_client, cache, retry_backoff_seconds=0.02, max_retry_backoff_seconds=0.1)
    active = ActiveModel(
        registry,
        lambda _, folder: InProcessScorer(folder / "scorer.onnx"),
        cache.interner,
        poll_seconds=0.02,
        max_retry_backoff_seconds=0.1,
    )
    ranker = Ranker(features_client, cache, active)
    feed.start()
    active.start()
    address = f"127.0.0.1:{free_port(0)}"

    def add(server: grpc.Server) -> None:
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(RankingServicer(ranker), server)

    health = HealthMonitor({"items": feed.caught_up, "model": active.ready}, [SERVICE_NAME], interval_seconds=0.05)
    server = start_server(ServerOptions(address, workers=8), [Service(SERVICE_NAME, add)], health)
    with RankingClient(address, timeout_seconds=10) as client:
        yield Ranking(client, cache, feed, active, ranker)
    health.stop()
    feed.stop()
    active.stop()
    server.stop(0).wait()


@pytest.fixture
def ranking(unpromoted: Ranking, registry: ModelRegistry) -> Ranking:
    """A ranking service with version 1 active."""
    register_version(registry, promote=True)
    wait_until(unpromoted.active.ready)
    return unpromoted
