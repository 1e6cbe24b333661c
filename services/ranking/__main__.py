"""The ranking process: an item cache, the active model version, and its scorer in this process or in Triton."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import tritonclient.grpc as triton

from loreline.client import FeaturesClient, is_serving
from services.model_registry import ModelRegistry
from services.ranking.active_model import ActiveModel, OpenScorer
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.ranker import Ranker
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.scorers.triton import TritonScorer
from services.ranking.servicer import service
from services.ranking.settings import RankingSettings
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings
from services.runtime.server import ServerOptions, serve


def main() -> None:
    """Read settings, follow items and the active version, serve, drain on SIGTERM."""
    settings = read_settings(RankingSettings)
    configure_logs("ranking", settings.log_level)
    features = FeaturesClient(settings.features_address, settings.features_timeout_seconds)
    server = triton.InferenceServerClient(settings.triton_address) if settings.triton_address else None
    cache = ItemCache()
    feed = ItemFeed(
        features,
        cache,
        retry_backoff_seconds=settings.retry_backoff_seconds,
        max_retry_backoff_seconds=settings.max_retry_backoff_seconds,
    )
    active = ActiveModel(
        ModelRegistry(settings.model_registry),
        _scorer_opener(settings, server),
        cache.interner,
        poll_seconds=settings.poll_seconds,
        max_retry_backoff_seconds=settings.max_retry_backoff_seconds,
    )
    feed.start()
    active.start()
    ranking = service(Ranker(features, cache, active))

    def close() -> None:
        feed.stop()
        active.stop()
        for client in (features, *([server] if server else [])):
            client.close()

    options = ServerOptions(
        settings.listen_address, workers=settings.workers, max_concurrent_calls=settings.max_concurrent_calls
    )
    serve(options, [ranking], _checks(settings, feed, active, server), close)


def _scorer_opener(settings: RankingSettings, server: triton.InferenceServerClient | None) -> OpenScorer:
    def in_process(_version: str, folder: Path) -> InProcessScorer:
        return InProcessScorer(folder / "scorer.onnx", settings.scorer_threads)

    def in_triton(version: str, _folder: Path) -> TritonScorer:
        return TritonScorer(server, version, settings.triton_timeout_seconds)

    return in_triton if server else in_process


def _checks(
    settings: RankingSettings, feed: ItemFeed, active: ActiveModel, server: triton.InferenceServerClient | None
) -> dict[str, Callable[[], bool]]:
    checks: dict[str, Callable[[], bool]] = {
        "features": partial(is_serving, settings.features_address),
        "items": feed.caught_up,
        "model": active.ready,
    }
    if server:
        checks["triton"] = partial(server.is_server_ready, client_timeout=settings.triton_timeout_seconds)
    return checks


if __name__ == "__main__":
    main()
