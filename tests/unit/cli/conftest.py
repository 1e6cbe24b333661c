"""Real services that the operator's commands ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.store import apply_definitions, open_store
from loreline.client import FeaturesClient
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.metrics import FeaturesMetrics
from services.features.online_store import OnlineStore
from services.features.servicer import SERVICE_NAME, service
from services.features.sqlite_ledger import SqliteLedger
from services.features.user_features import UserFeatures
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server


@pytest.fixture
def features(tmp_path: Path) -> Iterator[FeaturesClient]:
    """A client of a features service over an empty directory."""
    feast = open_store(tmp_path / "features", "sqlite")
    apply_definitions(feast, tmp_path / "features")
    store, ledger = OnlineStore(feast), SqliteLedger(tmp_path / "features" / "ledger.db")
    health = HealthMonitor({"online_store": store.answers}, [SERVICE_NAME])
    parts = service(
        ItemFeatures(store, ledger),
        UserFeatures(store, ledger),
        Descriptions(store, ledger),
        ledger,
        FeaturesMetrics(ledger),
    )
    server = start_server(ServerOptions("127.0.0.1:0"), [parts], health)
    address = server.address
    with FeaturesClient(address, timeout_seconds=100) as client:
        yield client
    health.stop()
    server.stop(2).wait()
    ledger.close()
