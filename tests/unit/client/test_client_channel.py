"""What clients do when a service is away, comes back, or stops in the middle."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from loreline.client import InvalidArgumentError, KnowledgeClient, ServiceUnavailableError
from loreline.client.channel import SERVICE_CONFIG
from loreline.domain import Item
from loreline.embedding.v1 import embedding_pb2
from loreline.features.v1 import features_pb2
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from loreline.ranking.v1 import ranking_pb2
from services.cli.local_processes import free_port
from services.runtime.errors import DependencyUnavailable
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server

NAME = "loreline.knowledge.v1.KnowledgeService"


class UnsteadyServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Fails its first calls, and has a stream that never answers."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0
        self.asked, self.release = threading.Event(), threading.Event()

    def GetItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise DependencyUnavailable("the store", "locked")
        return knowledge_pb2.GetItemKnowledgeResponse(knowledge=knowledge_pb2.Knowledge(text="done"))

    def GenerateItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.asked.set()
        self.release.wait(100)
        yield from ()


Serve = Callable[..., tuple[str, Callable[[], None]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for a servicer; gives its address and how to stop it at once."""
    with ExitStack() as running:

        def begin(servicer: UnsteadyServicer, address: str = "") -> tuple[str, Callable[[], None]]:
            chosen = address or f"127.0.0.1:{free_port(0)}"
            server = _start(servicer, chosen)
            running.callback(lambda: server.stop(0).wait())
            running.callback(servicer.release.set)
            return chosen, lambda: server.stop(0).wait()

        yield begin


def _start(servicer: UnsteadyServicer, address: str) -> grpc.Server:
    def add(server: grpc.Server) -> None:
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(servicer, server)

    return start_server(ServerOptions(address, workers=2), [Service(NAME, add)], HealthMonitor({}, [NAME], 60))


def test_a_short_outage_is_bridged(serve: Serve) -> None:
    """UNAVAILABLE is tried again, up to four times in all."""
    servicer = UnsteadyServicer(failures=3)
    with KnowledgeClient(serve(servicer)[0], timeout_seconds=100) as client:
        assert client.item_knowledge("1").text == "done"
    assert servicer.calls == 4


def test_a_long_outage_is_told(serve: Serve) -> None:
    """After four tries the caller decides."""
    servicer = UnsteadyServicer(failures=100)
    address, told = serve(servicer)[0], pytest.raises(ServiceUnavailableError, match="the store does not answer")
    with KnowledgeClient(address, timeout_seconds=100) as client, told:
        client.item_knowledge("1")
    assert servicer.calls == 4


def test_a_service_that_is_not_there_is_unavailable() -> None:
    """Within the deadline, as the platform's error."""
    address = f"127.0.0.1:{free_port(0)}"
    with KnowledgeClient(address, timeout_seconds=100) as client, pytest.raises(ServiceUnavailableError):
        client.item_knowledge("1")


def test_a_request_that_no_service_takes_is_refused_before_it_is_sent() -> None:
    """GRPC would say that the service is overloaded, and who believes it tries for ever."""
    large = Item("1", "movies", "Film", {f"plot-{n}": "x" * 8000 for n in range(64)})
    with (
        KnowledgeClient("127.0.0.1:1") as client,
        pytest.raises(InvalidArgumentError, match="at most 16,777,216") as error,
    ):
        list(client.generate_for_items("movies", [large] * 40))
    assert [field for field, _ in error.value.violations] == ["request"]


def test_a_service_that_comes_back_is_found_again(serve: Serve) -> None:
    """The same client goes on."""
    address, stop = serve(UnsteadyServicer(0))
    with KnowledgeClient(address, timeout_seconds=100) as client:
        assert client.item_knowledge("1").text == "done"
        stop()
        with pytest.raises(ServiceUnavailableError):
            client.item_knowledge("1")
        serve(UnsteadyServicer(0), address)
        assert _until_answered(client) == "done"


def _until_answered(client: KnowledgeClient) -> str:
    for _ in range(50):
        try:
            return client.item_knowledge("1").text
        except ServiceUnavailableError:
            threading.Event().wait(0.1)
    pytest.fail("the service was not found again")


def test_a_stream_learns_that_its_server_stopped_before_the_first_answer(serve: Serve) -> None:
    """The caller is told at once, long before its deadline."""
    servicer = UnsteadyServicer(0)
    address, stop = serve(servicer)
    failed: list[BaseException] = []

    def listen(client: KnowledgeClient) -> None:
        with pytest.raises(ServiceUnavailableError) as told:
            list(client.generate_for_items("movies", [Item("1", "movies", "Night Train")]))
        failed.append(told.value)

    with KnowledgeClient(address, timeout_seconds=60) as client:
        thread = threading.Thread(target=listen, args=[client], daemon=True)
        thread.start()
        assert servicer.asked.wait(100)
        stop()
        thread.join(100)
        assert failed, "the caller still waits"


def test_what_may_not_be_repeated_is_known() -> None:
    """Every stream, and what pays a language model each time; a new streaming method must be added to the list."""
    contracts = [embedding_pb2, features_pb2, knowledge_pb2, ranking_pb2]
    services = [service for contract in contracts for service in contract.DESCRIPTOR.services_by_name.values()]
    streams = {
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if method.server_streaming
    }
    without_retries, rest = json.loads(SERVICE_CONFIG)["methodConfig"]
    assert {(name["service"], name["method"]) for name in without_retries["name"]} == streams | {
        (NAME, "ElicitFactors")
    }
    assert rest["name"] == [{}]
