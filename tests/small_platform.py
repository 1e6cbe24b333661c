"""The features and embedding services in this process, over real stores, for tests of what calls them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from feature_repo.store import apply_definitions, open_store
from loreline.client import EmbeddingClient, FeaturesClient
from loreline.domain import Item, KnowledgeVectors, Stamp
from services.embedding.adapter import Adapter
from services.embedding.servicer import service as embedding_service
from services.features.bulk_catch_up import seed
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.metrics import FeaturesMetrics
from services.features.online_store import OnlineStore
from services.features.servicer import service as features_service
from services.features.sqlite_ledger import SqliteLedger
from services.features.user_features import UserFeatures
from services.model_registry import ModelRegistry
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server
from tests.knowledge_samples import sample_knowledge
from tests.model_versions import KNOWLEDGE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def running_features(directory: Path) -> Iterator[FeaturesClient]:
    """A client of a features service over an empty directory, on SQLite."""
    feast = open_store(directory, "sqlite")
    apply_definitions(feast, directory)
    store, ledger = OnlineStore(feast), SqliteLedger(directory / "ledger.db")
    seed(ledger, directory)
    parts = features_service(
        ItemFeatures(store, ledger),
        UserFeatures(store, ledger),
        Descriptions(store, ledger),
        ledger,
        FeaturesMetrics(ledger),
    )
    with _serving(parts) as address, FeaturesClient(address, timeout_seconds=100) as client:
        yield client
        ledger.end_watches()
    ledger.close()


@contextmanager
def running_embedding(registry: ModelRegistry) -> Iterator[EmbeddingClient]:
    """A client of an embedding service that adapts only: it has no encoder."""
    parts = embedding_service(cast(Any, None), Adapter(registry))
    with _serving(parts) as address, EmbeddingClient(address, timeout_seconds=100) as client:
        yield client


@contextmanager
def _serving(parts: Service) -> Iterator[str]:
    health = HealthMonitor({}, [parts.name])
    server = start_server(ServerOptions("127.0.0.1:0", workers=4), [parts], health)
    address = server.address
    yield address
    health.stop()
    server.stop(2).wait()


def store_items(features: FeaturesClient, item_ids: list[str], version: str = "") -> None:
    """Store items with knowledge, and with zeros as `version`'s augmented vectors if one is named."""
    stamps = [Stamp(f"event-{item_id}", NOW) for item_id in item_ids]
    items = [Item(item_id, "movies", f"Film {item_id}", {}) for item_id in item_ids]
    assert set(features.put_contents(list(zip(stamps, items, strict=True)))) == {"APPLIED"}
    augmented = np.zeros(4, dtype=np.float32) if version else None
    writes = [
        (
            stamp,
            item_id,
            KnowledgeVectors(sample_knowledge(item_id), "test-encoder", vector_of(item_id), version, augmented),
        )
        for stamp, item_id in zip(stamps, item_ids, strict=True)
    ]
    assert set(features.put_knowledge(writes)) == {"APPLIED"}


def store_user(features: FeaturesClient, user_id: str) -> None:
    """Store a user with preference knowledge."""
    vectors = KnowledgeVectors(sample_knowledge(user_id), "test-encoder", vector_of(user_id), "", None)
    assert features.put_user_knowledge(user_id, Stamp(f"event-{user_id}", NOW), vectors) == "APPLIED"


def vector_of(subject_id: str) -> np.ndarray:
    """The knowledge vector of a subject."""
    return (
        np.random.default_rng(len(subject_id) + sum(subject_id.encode())).normal(0, 0.3, KNOWLEDGE).astype(np.float32)
    )
