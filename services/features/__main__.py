"""The features process: Feast's online store behind ordered, idempotent writes and packed reads."""

from __future__ import annotations

from feature_repo.store import apply_definitions, open_store
from services.features.bulk_catch_up import seed
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.ledger import Ledger
from services.features.metrics import FeaturesMetrics
from services.features.online_store import OnlineStore
from services.features.servicer import service
from services.features.settings import FeaturesSettings
from services.features.user_features import UserFeatures
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings
from services.runtime.server import ServerOptions, serve


def main() -> None:
    """Read settings, open Feast and the ledger, take in what was bulk-loaded, serve, drain on SIGTERM."""
    settings = read_settings(FeaturesSettings)
    configure_logs("features", settings.log_level)
    feast = open_store(settings.feature_directory, settings.online_store)
    apply_definitions(feast, settings.feature_directory)
    store, ledger = OnlineStore(feast), Ledger(settings.feature_directory / "ledger.db")
    seed(ledger, settings.feature_directory)
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


if __name__ == "__main__":
    main()
