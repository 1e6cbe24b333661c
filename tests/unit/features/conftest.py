"""The features service over real stores: SQLite, and a real Redis server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry

from feature_repo.store import apply_definitions, open_store
from loreline.client import FeaturesClient
from services.features.__main__ import open_ledger
from services.features.bulk_catch_up import seed
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.metrics import FeaturesMetrics
from services.features.online_store import OnlineStore
from services.features.servicer import SERVICE_NAME, service
from services.features.user_features import UserFeatures
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server
from tests.redis_server import RedisServer


@dataclass
class Features:
    """A running service and where its files are."""

    client: FeaturesClient
    address: str
    directory: Path
    online_store: str
    metrics: CollectorRegistry


Start = Callable[[Path], Features]


@pytest.fixture(scope="session")
def redis_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real Redis server."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.address


@pytest.fixture(params=["sqlite", "redis"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the service over a feature directory, as its process does; one suite for each store, with its ledger."""
    if request.param == "redis":
        connection = request.getfixturevalue("redis_connection")
        monkeypatch.setenv("LORELINE_REDIS_CONNECTION", connection)
        redis.Redis.from_url(f"redis://{connection}").flushall()
    running: list[Callable[[], None]] = []

    def begin(directory: Path) -> Features:
        context = serving(directory, request.param)
        features = context.__enter__()
        running.append(lambda: context.__exit__(None, None, None))
        return features

    yield begin
    for stop in reversed(running):
        stop()


@pytest.fixture
def features(start: Start, tmp_path: Path) -> Features:
    """The service over an empty directory."""
    return start(tmp_path)


@contextmanager
def serving(directory: Path, online_store: str) -> Iterator[Features]:
    """The service over a feature directory."""
    feast = open_store(directory, online_store)
    apply_definitions(feast, directory)
    store, ledger = OnlineStore(feast), open_ledger(online_store, directory)
    seed(ledger, directory)
    health = HealthMonitor({"online_store": store.answers}, [SERVICE_NAME])
    items, users, metrics = ItemFeatures(store, ledger), UserFeatures(store, ledger), FeaturesMetrics(ledger)
    parts = service(items, users, Descriptions(store, ledger), ledger, metrics)
    server = start_server(ServerOptions("127.0.0.1:0"), [parts], health)
    address = server.address
    client = FeaturesClient(address, timeout_seconds=100)
    try:
        yield Features(client, address, directory, online_store, metrics.registry)
    finally:
        ledger.end_watches()
        client.close()
        health.stop()
        server.stop(2).wait()
        ledger.close()
