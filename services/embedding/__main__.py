"""The embedding process: a frozen text encoder, and the adaptors of the model versions."""

from __future__ import annotations

from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.encoder_export import EncoderUnavailable, exported_encoder
from services.embedding.servicer import service
from services.embedding.settings import EmbeddingSettings
from services.model_registry import ModelRegistry
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.runtime.server import ServerOptions, serve
from services.wheel_assets import AssetUnavailable


def main() -> None:
    """Read settings, load the encoder, serve, drain on SIGTERM."""
    settings = read_settings(EmbeddingSettings)
    configure_logs("embedding", settings.log_level)
    encoder = _open_encoder(settings)
    adapter = Adapter(ModelRegistry(settings.model_registry), loaded_adaptors=settings.loaded_adaptors)
    serve(ServerOptions(settings.listen_address), [service(encoder, adapter)], checks={})


def _open_encoder(settings: EmbeddingSettings) -> Encoder:
    try:
        folder = exported_encoder(settings.encoder, settings.pooling)
    except (EncoderUnavailable, AssetUnavailable) as error:
        refuse_to_start(f"LORELINE_EMBEDDING_ENCODER: {error}")
    return Encoder(
        folder,
        threads=settings.threads,
        batch_texts=settings.batch_texts,
        concurrent_encodings=settings.concurrent_encodings,
        wait_seconds=settings.encoding_wait_seconds,
    )


if __name__ == "__main__":
    main()
