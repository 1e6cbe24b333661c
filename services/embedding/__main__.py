"""The embedding process: a frozen text encoder, and the adaptors of the model versions."""

from __future__ import annotations

from functools import partial

from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.encoder_export import EncoderUnavailable, exported_encoder
from services.embedding.metrics import EmbeddingMetrics
from services.embedding.servicer import service
from services.embedding.settings import EmbeddingSettings
from services.model_registry import ModelRegistry
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings, refuse_to_start
from services.runtime.server import ServerOptions, serve
from services.runtime.worker_processes import run_processes
from services.wheel_assets import AssetUnavailable


def main() -> None:
    """Read settings, then serve, in as many processes as they say."""
    settings = read_settings(EmbeddingSettings)
    configure_logs("embedding", settings.log_level)
    options = ServerOptions(settings.listen_address, processes=settings.processes)
    run_processes(options, partial(_serve, settings, options))


def _serve(settings: EmbeddingSettings, options: ServerOptions) -> None:
    """Load the encoder, serve, drain on SIGTERM."""
    metrics = EmbeddingMetrics()
    serve_metrics(metrics.registry, settings.metrics_address)
    encoder = _open_encoder(settings, metrics)
    registry = ModelRegistry(settings.model_registry)
    adapter = Adapter(registry, loaded_adaptors=settings.loaded_adaptors, metrics=metrics)
    serve(options, [service(encoder, adapter)], checks={})


def _open_encoder(settings: EmbeddingSettings, metrics: EmbeddingMetrics) -> Encoder:
    try:
        folder = exported_encoder(settings.encoder, settings.pooling)
    except (EncoderUnavailable, AssetUnavailable) as error:
        refuse_to_start(f"LORELINE_EMBEDDING_ENCODER: {error}")
    return Encoder(
        folder,
        threads=settings.threads,
        batch_texts=settings.batch_texts,
        batch_tokens=settings.batch_tokens,
        concurrent_encodings=settings.concurrent_encodings,
        wait_seconds=settings.encoding_wait_seconds,
        metrics=metrics,
    )


if __name__ == "__main__":
    main()
