"""The features process: Feast's online store behind ordered, idempotent writes and packed reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from feature_repo.redis_connection import redis_client
from feature_repo.store import apply_definitions, open_store
from services.features.bulk_catch_up import seed
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.ledger import Ledger
from services.features.metrics import FeaturesMetrics
from services.features.online_store import OnlineStore
from services.features.redis_ledger import RedisLedger
from services.features.servicer import service
from services.features.settings import FeaturesSettings
from services.features.sqlite_ledger import SqliteLedger
from services.features.user_features import UserFeatures
from services.runtime.errors import DependencyUnavailable
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings, refuse_to_start
from services.runtime.server import ServerOptions, serve

REDIS_VARIABLE = "LORELINE_REDIS_CONNECTION"  # Feast's configuration names it too


def main() -> None:
    """Read settings, open Feast and the ledger, take in what was bulk-loaded, serve, drain on SIGTERM."""
    settings = read_settings(FeaturesSettings)
    if settings.online_store == "redis":
        check_connection(os.environ.get(REDIS_VARIABLE, ""))
    configure_logs("features", settings.log_level)
    feast = open_store(settings.feature_directory, settings.online_store)
    apply_definitions(feast, settings.feature_directory)
    store, ledger = OnlineStore(feast), open_ledger(settings.ledger, settings.feature_directory)
    try:
        seed(ledger, settings.feature_directory)
    except DependencyUnavailable as error:
        sys.exit(f"cannot start yet: {error}")
    options = ServerOptions(
        listen_address=settings.listen_address,
        workers=settings.workers,
        max_concurrent_calls=settings.max_concurrent_calls,
        max_streams=settings.max_streams,
        drain_seconds=settings.drain_seconds,
    )
    metrics = FeaturesMetrics(ledger)
    serve_metrics(metrics.registry, settings.metrics_address)
    items, users = ItemFeatures(store, ledger), UserFeatures(store, ledger)
    features = service(items, users, Descriptions(store, ledger), ledger, metrics)
    serve(options, [features], checks={"online_store": store.answers}, stopping=ledger.end_watches, close=ledger.close)


def check_connection(connection: str) -> None:
    """Exit with code 2 where it is none."""
    try:
        redis_client(connection, 1).close()
    except ValueError as error:
        refuse_to_start(f"{REDIS_VARIABLE}: {error}")


def open_ledger(kind: Literal["sqlite", "redis"], feature_directory: Path) -> Ledger:
    """The ledger in a file of the feature directory, or in the Redis of the environment."""
    if kind == "redis":
        return RedisLedger(os.environ[REDIS_VARIABLE])
    return SqliteLedger(feature_directory / "ledger.db")


if __name__ == "__main__":
    main()
