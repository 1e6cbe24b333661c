"""Calls, streams and health checks over real gRPC: none takes the threads of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server
from tests.waiting import wait_until

NAME = "loreline.knowledge.v1.KnowledgeService"
CALLS, STREAMS = 3, 4


class WaitingServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Answers a call once it may; its streams go on until then."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun: list[str] = []

    def GetItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.begun.append(request.item_id)
        if request.item_id != "quick":
            self.may_end.wait(100)
        return knowledge_pb2.GetItemKnowledgeResponse()

    def GenerateItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="first")
        self.may_end.wait(100)


@pytest.fixture
def servicer() -> Iterator[WaitingServicer]:
    made = WaitingServicer()
    yield made
    made.may_end.set()


@pytest.fixture
def channel(servicer: WaitingServicer) -> Iterator[grpc.Channel]:
    """To a server of two threads for calls, three calls and four streams at most."""

    def add(server: grpc.Server) -> None:
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(servicer, server)

    health = HealthMonitor({}, [NAME])
    options = ServerOptions("127.0.0.1:0", workers=2, max_concurrent_calls=CALLS, max_streams=STREAMS)
    server = start_server(options, [Service(NAME, add)], health)
    with grpc.insecure_channel(server.address) as opened:
        yield opened
        servicer.may_end.set()
    health.stop()
    server.stop(0).wait()


def asked(channel: grpc.Channel, item_id: str, timeout: float = 100) -> Any:
    """A call under way."""
    request = knowledge_pb2.GetItemKnowledgeRequest(item_id=item_id)
    return knowledge_pb2_grpc.KnowledgeServiceStub(channel).GetItemKnowledge.future(request, timeout=timeout)


def opened(channel: grpc.Channel) -> Any:
    """A stream under way."""
    request = knowledge_pb2.GenerateItemKnowledgeRequest()
    return knowledge_pb2_grpc.KnowledgeServiceStub(channel).GenerateItemKnowledge(request, timeout=100)


def is_alive(channel: grpc.Channel) -> bool:
    """Whether the health service says so."""
    request = health_pb2.HealthCheckRequest(service="liveness")
    response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=100)
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def assert_refused(error: grpc.RpcError) -> None:
    """RESOURCE_EXHAUSTED, and when to come again."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rpc_status.from_call(error).details)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


def test_calls_are_answered_while_all_streams_are_open(channel: grpc.Channel) -> None:
    """More of them than there are threads for calls."""
    with ExitStack() as stack:
        for _ in range(STREAMS):
            stream = opened(channel)
            stack.callback(stream.cancel)
            next(stream)
        asked(channel, "quick").result()
        assert is_alive(channel)


def test_a_stream_too_many_is_refused_until_one_has_ended(channel: grpc.Channel) -> None:
    """It would wait for ever otherwise."""
    streams = [opened(channel) for _ in range(STREAMS)]
    for stream in streams:
        next(stream)
    with pytest.raises(grpc.RpcError) as refused:
        next(opened(channel))
    assert_refused(refused.value)
    streams[0].cancel()


def test_a_call_too_many_is_refused_while_health_checks_are_answered(
    channel: grpc.Channel, servicer: WaitingServicer
) -> None:
    """An orchestrator must not kill a process for being busy."""
    held = [asked(channel, f"held {number}") for number in range(CALLS)]
    wait_until(lambda: len(servicer.begun) == 2)
    with pytest.raises(grpc.RpcError) as refused:
        asked(channel, "one more").result()
    assert_refused(refused.value)
    assert is_alive(channel)
    servicer.may_end.set()
    assert [call.result() is not None for call in held] == [True] * CALLS
    asked(channel, "quick").result()


def test_watchers_of_health_take_no_threads(channel: grpc.Channel) -> None:
    """There may be any number of them."""
    stub = health_pb2_grpc.HealthStub(channel)
    with ExitStack() as stack:
        for _ in range(40):
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="liveness"), timeout=100)
            stack.callback(watch.cancel)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert is_alive(channel)
        asked(channel, "quick").result()


def test_a_call_whose_time_is_over_when_its_turn_comes_is_not_begun(
    channel: grpc.Channel, servicer: WaitingServicer
) -> None:
    """Its work would be for nobody."""
    held = [asked(channel, f"held {number}") for number in range(2)]
    wait_until(lambda: len(servicer.begun) == 2)
    late = asked(channel, "late", timeout=0.1)
    assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    time.sleep(0.5)  # its time is over on the server as well, whose clock began later
    servicer.may_end.set()
    for call in held:
        call.result()
    asked(channel, "quick").result()
    assert "late" not in servicer.begun
