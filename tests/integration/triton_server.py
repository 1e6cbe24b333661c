"""A real Triton server on free ports, started and stopped by tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.triton import local_server
from deploy.triton.render import render
from services.cli.local_processes import free_port
from services.model_registry import ModelRegistry
from tests.model_versions import register_version


@dataclass
class TritonProcess:
    """A running server over a rendered model repository."""

    address: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it without a word."""
        local_server.kill(self.process)


@contextmanager
def running_triton(model_repository: Path, address: str = "", explicit: bool = False) -> Iterator[TritonProcess]:
    """Start a server over the repository, at `address` or on a free port, and wait until it is ready."""
    environment = local_server.install()
    taken: set[int] = set()
    http, metrics, grpc = (free_port(0, taken) for _ in range(3))
    address = address or f"127.0.0.1:{grpc}"
    command = local_server.command(
        environment, model_repository, http, int(address.rsplit(":", 1)[1]), metrics, explicit
    )
    log_path = model_repository.parent / "triton.log"
    with log_path.open("ab") as log:
        process = local_server.start(command, environment, log)
    try:
        local_server.wait_until_ready(address, process)
        yield TritonProcess(address, process)
    except local_server.ServerFailed as error:
        raise AssertionError(f"{error}:\n{log_path.read_text(errors='replace')[-3000:]}") from error
    finally:
        local_server.stop(process)


@pytest.fixture(scope="session")
def triton_registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """The two small versions that the shared server serves. Tests do not write to it."""
    registry = ModelRegistry(tmp_path_factory.mktemp("registry"))
    for _ in range(2):
        register_version(registry)
    return registry


@pytest.fixture(scope="session")
def triton(triton_registry: ModelRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    """A real Triton server of both versions, shared by all tests. Tests do not stop it."""
    output = tmp_path_factory.mktemp("triton") / "models"
    render(triton_registry, output, "python")
    with running_triton(output) as process:
        yield process
