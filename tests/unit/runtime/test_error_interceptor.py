"""Every error class over real gRPC: its status, and its google.rpc details."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from loreline.client import (
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    KnowledgeClient,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
)
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.runtime.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    Overloaded,
    PlatformError,
)
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server

NAME = "loreline.knowledge.v1.KnowledgeService"
CASES: list[tuple[PlatformError, str, str]] = [
    (InvalidRequest([("a.b", "must be c"), ("d", "must be e")]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (NotFound("item", "42"), "NOT_FOUND", "NOT_FOUND"),
    (FailedPrecondition("promote first"), "FAILED_PRECONDITION", "FAILED_PRECONDITION"),
    (Overloaded("the queue is full", 2.5), "RESOURCE_EXHAUSTED", "OVERLOADED"),
    (DependencyUnavailable("the store", "locked"), "UNAVAILABLE", "DEPENDENCY_UNAVAILABLE"),
    (DeadlineExceeded("too late"), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
    (PlatformError("our fault"), "INTERNAL", "INTERNAL"),
]
IDS = [type(error).__name__ for error, _, _ in CASES]
Fail = Callable[[Exception], None]


class FailingServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Raises what it is told: a unary method at once, a stream after one answer."""

    def __init__(self) -> None:
        self.error: Exception = PlatformError()

    def GetItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        raise self.error

    def GetUserKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "its own status")

    def GenerateItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="first")
        raise self.error


@pytest.fixture(scope="module")
def servicer() -> FailingServicer:
    return FailingServicer()


@pytest.fixture(scope="module")
def address(servicer: FailingServicer) -> Iterator[str]:
    """A server whose methods fail."""
    health = HealthMonitor({}, [NAME])

    def add(server: grpc.Server) -> None:
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(servicer, server)

    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [Service(NAME, add)], health)
    listen = server.address
    yield listen
    health.stop()
    server.stop(0).wait()


@pytest.fixture
def stub(address: str) -> Iterator[knowledge_pb2_grpc.KnowledgeServiceStub]:
    with grpc.insecure_channel(address) as channel:
        yield knowledge_pb2_grpc.KnowledgeServiceStub(channel)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    """The error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return failed.value


def unary(stub: Any) -> grpc.RpcError:
    """The error of the unary method."""
    return failure(lambda: stub.GetItemKnowledge(knowledge_pb2.GetItemKnowledgeRequest(), timeout=100))


def details(error: grpc.RpcError, kind: Any) -> Any:
    """The detail of that kind, or None."""
    for packed in rpc_status.from_call(error).details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    return None


@pytest.mark.parametrize(("error", "status", "reason"), CASES, ids=IDS)
def test_an_error_has_its_status_and_info(
    servicer: FailingServicer, stub: Any, error: PlatformError, status: str, reason: str
) -> None:
    """Message, code, and an ErrorInfo with reason, domain and method."""
    servicer.error = error
    failed = unary(stub)
    assert (failed.code().name, failed.details()) == (status, str(error))
    info = details(failed, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "loreline")
    assert info.metadata["method"] == f"/{NAME}/GetItemKnowledge"


@pytest.mark.parametrize(("error", "status", "reason"), CASES, ids=IDS)
def test_a_stream_ends_with_the_same_status(
    servicer: FailingServicer, stub: Any, error: PlatformError, status: str, reason: str
) -> None:
    """What was sent before the error arrives."""
    servicer.error = error
    stream = stub.GenerateItemKnowledge(knowledge_pb2.GenerateItemKnowledgeRequest(), timeout=100)
    assert next(stream).item_id == "first"
    failed = failure(lambda: next(stream))
    assert failed.code().name == status
    assert details(failed, error_details_pb2.ErrorInfo).reason == reason


def test_a_bad_request_names_its_fields(servicer: FailingServicer, stub: Any) -> None:
    """BadRequest holds every violation, and only InvalidRequest has one."""
    servicer.error = CASES[0][0]
    request = details(unary(stub), error_details_pb2.BadRequest)
    found = [(violation.field, violation.description) for violation in request.field_violations]
    assert found == [("a.b", "must be c"), ("d", "must be e")]
    servicer.error = NotFound("item", "42")
    assert details(unary(stub), error_details_pb2.BadRequest) is None


def test_a_request_that_is_wrong_everywhere_is_told_within_4_kilobytes(servicer: FailingServicer, stub: Any) -> None:
    """The first twenty violations at most, and how many there are: more than that much metadata ends a connection."""
    for words in ("must be set", "must be one of " + "käse, " * 100, "🎬" * 500):
        servicer.error = InvalidRequest([(f"candidates[{n}].attributes['{'x' * n}']", words) for n in range(5000)])
        failed = unary(stub)
        assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
        sent = dict(failed.trailing_metadata())
        assert len(sent["grpc-status-details-bin"]) * 4 / 3 + 3 * len(failed.details().encode()) < 4096
        told = details(failed, error_details_pb2.BadRequest).field_violations
        assert 1 <= len(told) <= 20
        assert told[0].field == "candidates[0].attributes['']"
        assert details(failed, error_details_pb2.ErrorInfo).metadata["violations"] == "5000"


@pytest.mark.parametrize("data", [b"\xff\xff", b"no message", b"\x0a\xff"])
def test_bytes_that_are_no_message_are_refused(address: str, data: bytes) -> None:
    """On every kind of method; the service lives on."""
    with grpc.insecure_channel(address) as channel:
        for call in (
            lambda: channel.unary_unary(f"/{NAME}/GetItemKnowledge")(data, timeout=100),
            lambda: next(channel.unary_stream(f"/{NAME}/GenerateItemKnowledge")(data, timeout=100)),
        ):
            failed = failure(call)
            assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
            [violation] = details(failed, error_details_pb2.BadRequest).field_violations
            assert violation.field == "request"


def test_an_overload_says_when_to_come_back(servicer: FailingServicer, stub: Any) -> None:
    """RetryInfo holds the delay."""
    servicer.error = Overloaded("the queue is full", 2.5)
    assert details(unary(stub), error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == 2.5


def test_an_unexpected_error_shows_an_id_and_no_words(
    servicer: FailingServicer, stub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the error under the id that the caller sees."""
    servicer.error = RuntimeError("secret inside")
    failed = unary(stub)
    assert failed.code().name == "INTERNAL"
    assert "secret" not in failed.details()
    identifier = failed.details().split()[2].rstrip(":")
    assert len(identifier) == 32
    assert identifier in capsys.readouterr().out


def test_a_status_that_a_method_set_itself_stays(stub: Any) -> None:
    """An abort is not wrapped again."""
    failed = failure(lambda: stub.GetUserKnowledge(knowledge_pb2.GetUserKnowledgeRequest(), timeout=100))
    assert (failed.code().name, failed.details()) == ("ALREADY_EXISTS", "its own status")


def test_an_unknown_method_is_unimplemented(address: str) -> None:
    """The interceptor passes on what does not exist."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{NAME}/Nonsense")
        assert failure(lambda: call(b"", timeout=100)).code().name == "UNIMPLEMENTED"


CLIENT_ERRORS = [
    InvalidArgumentError,
    NotFoundError,
    FailedPreconditionError,
    OverloadedError,
    ServiceUnavailableError,
    DeadlineExceededError,
    ClientError,
]


@pytest.mark.parametrize(("error", "kind"), list(zip([case[0] for case in CASES], CLIENT_ERRORS, strict=True)), ids=IDS)
def test_clients_raise_the_class_of_the_status(
    servicer: FailingServicer, address: str, error: PlatformError, kind: type[ClientError]
) -> None:
    """With code, message and violations as plain values."""
    servicer.error = error
    with KnowledgeClient(address, timeout_seconds=100) as client, pytest.raises(ClientError) as failed:
        client.item_knowledge("1")
    assert type(failed.value) is kind
    assert failed.value.message == str(error)
    assert failed.value.violations == getattr(error, "violations", [])
    assert failed.value.retry_after_seconds == getattr(error, "retry_after_seconds", None)
    assert failed.value.reason == error.reason
