"""The knowledge service over real gRPC, with its real providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from knowledge_parts import settings

from loreline.client import KnowledgeClient
from services.knowledge.assembly import assemble
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import PROVIDERS, ProviderPool, build_provider
from services.knowledge.servicer import SERVICE_NAME, service
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server
from tests.language_model_stub import FaultStub, fault_stub

Start = Callable[..., KnowledgeClient]


@pytest.fixture
def stub() -> Iterator[FaultStub]:
    """A language model server that goes wrong on demand."""
    with fault_stub() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the service with settings as its process would, and gives a client of it."""
    with ExitStack() as running:
        yield lambda **values: running.enter_context(_serve(tmp_path / "knowledge.db", values))


@contextmanager
def _serve(path: Path, values: dict[str, Any]) -> Iterator[KnowledgeClient]:
    chosen = settings(**{"store_path": path} | values)
    parts = assemble(
        chosen, ProviderPool(list(PROVIDERS), partial(build_provider, settings=chosen)), KnowledgeMetrics()
    )
    health = HealthMonitor({}, [SERVICE_NAME])
    made = service(parts.generator, parts.elicitor, parts.archive)
    server = start_server(ServerOptions("127.0.0.1:0", workers=4), [made], health)
    address = server.address
    with KnowledgeClient(address, timeout_seconds=120) as client:
        yield client
    health.stop()
    server.stop(0).wait()
    parts.close()
