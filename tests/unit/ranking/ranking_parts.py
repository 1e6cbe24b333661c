"""Parts of a running ranking service, for the fixtures and tests of this folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from memory_features import MemoryFeatures
from prometheus_client import CollectorRegistry

from loreline.client import RankingClient
from loreline.features.v1 import features_pb2_grpc
from services.ranking.active_model import ActiveModel
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.ranker import Ranker
from services.ranking.request_stream import RequestStreams
from tests.waiting import wait_until


def serve_features(store: MemoryFeatures, address: str) -> grpc.Server:
    """The store behind a real gRPC server."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    features_pb2_grpc.add_FeaturesServiceServicer_to_server(store, server)
    assert server.add_insecure_port(address)
    server.start()
    return server


@dataclass
class Ranking:
    """A running ranking service and its parts."""

    client: RankingClient
    cache: ItemCache
    feed: ItemFeed
    active: ActiveModel
    ranker: Ranker
    streams: RequestStreams
    metrics: CollectorRegistry
    address: str

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now, 0 before its first."""
        return self.metrics.get_sample_value(name, labels) or 0.0

    def holds(self, count: int) -> None:
        """Wait until the item cache holds so many items."""
        wait_until(lambda: self.feed.caught_up() and len(self.cache) == count)
