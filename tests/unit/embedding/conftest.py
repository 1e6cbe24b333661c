"""The embedding service over real gRPC, with the bundled encoder and small model versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loreline.client import EmbeddingClient
from loreline.embedding.v1 import embedding_pb2_grpc
from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.encoder_export import exported_encoder
from services.embedding.servicer import SERVICE_NAME, EmbeddingServicer
from services.model_registry import ModelRegistry
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server


@pytest.fixture(scope="session")
def encoder_folder() -> Path:
    """The exported default encoder; the first run on a machine exports it."""
    return exported_encoder("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> Encoder:
    return Encoder(encoder_folder, threads=1, batch_texts=4)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry")


@pytest.fixture
def client(encoder: Encoder, registry: ModelRegistry) -> Iterator[EmbeddingClient]:
    """A client of a running service."""
    servicer = EmbeddingServicer(encoder, Adapter(registry))

    def add(server: object) -> None:
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)

    health = HealthMonitor({}, [SERVICE_NAME])
    server = start_server(ServerOptions("127.0.0.1:0", workers=4), [Service(SERVICE_NAME, add)], health)
    address = server.address
    with EmbeddingClient(address, timeout_seconds=60) as embedding:
        yield embedding
    health.stop()
    server.stop(0).wait()
