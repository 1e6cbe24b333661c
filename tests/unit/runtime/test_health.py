"""Liveness, readiness and dependencies by the standard health service."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from loreline.client import is_serving
from services.cli.local_processes import free_port
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server

NAME = "loreline.knowledge.v1.KnowledgeService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Dependencies:
    """Two dependencies that can be broken: one says so, the other raises."""

    def __init__(self) -> None:
        self.store_answers = self.provider_answers = True

    def store(self) -> bool:
        return self.store_answers

    def provider(self) -> bool:
        if not self.provider_answers:
            raise ConnectionError("refused")
        return True


@pytest.fixture
def dependencies() -> Dependencies:
    return Dependencies()


@pytest.fixture
def health(dependencies: Dependencies) -> HealthMonitor:
    checks = {"store": dependencies.store, "provider": dependencies.provider}
    return HealthMonitor(checks, [NAME], interval_seconds=0.02)


@pytest.fixture
def address(health: HealthMonitor) -> Iterator[str]:
    server = start_server(ServerOptions("127.0.0.1:0", workers=8), [Service(NAME, lambda server: None)], health)
    listen = server.address
    yield listen
    health.stop()
    server.stop(0).wait()


def wait_for(address: str, service: str, status: int) -> None:
    """Follow a health service name until it has a status."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        for response in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=100):
            if response.status == status:
                return
    pytest.fail(f"{service} never had status {status}")


def test_everything_serves_while_every_dependency_answers(address: str) -> None:
    """All names can be asked for, from the first moment on."""
    names = ["", "liveness", "readiness", NAME, "dependency/store", "dependency/provider"]
    assert all(is_serving(address, name) for name in names)


@pytest.mark.parametrize("broken", ["store", "provider"])
def test_a_broken_dependency_takes_readiness_and_not_liveness(
    address: str, dependencies: Dependencies, broken: str
) -> None:
    """A check that raises counts as one that says no; recovery is seen."""
    setattr(dependencies, f"{broken}_answers", False)
    wait_for(address, "readiness", NOT_SERVING)
    other = {"store": "provider", "provider": "store"}[broken]
    assert not is_serving(address, f"dependency/{broken}")
    assert not is_serving(address, NAME)
    assert all(is_serving(address, name) for name in ("", "liveness", f"dependency/{other}"))
    setattr(dependencies, f"{broken}_answers", True)
    wait_for(address, "readiness", SERVING)
    assert is_serving(address, NAME)


def test_an_unknown_name_is_not_serving(address: str) -> None:
    """NOT_FOUND by the health protocol."""
    assert not is_serving(address, "dependency/nonsense")


def test_nothing_there_is_not_serving() -> None:
    """A probe of a dead address says no."""
    assert not is_serving(f"127.0.0.1:{free_port(0)}", timeout_seconds=0.3)


def test_a_stopped_monitor_stays_not_serving(address: str, health: HealthMonitor, dependencies: Dependencies) -> None:
    """A check that is still running must not bring readiness back."""
    health.stop()
    assert not is_serving(address, "readiness")
    assert not is_serving(address, "")
    threading.Event().wait(0.1)
    assert not is_serving(address, "readiness")


def test_reflection_lists_the_services(address: str) -> None:
    """So that grpcurl needs no proto files."""
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        response = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=100)))
    names = {service.name for service in response.list_services_response.service}
    assert {NAME, "grpc.health.v1.Health"} <= names
