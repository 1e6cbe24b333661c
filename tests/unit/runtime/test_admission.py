"""Who works, who waits, and who is refused before any work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from loreline.client import is_serving
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.runtime.admission import Admission
from services.runtime.admission_interceptor import waited_seconds
from services.runtime.errors import CallerGone, DeadlineExceeded, Overloaded
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server


class Calls:
    """Calls through an admission, each of which works until it is released."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.pool = ThreadPoolExecutor(16)
        self.order: list[str] = []
        self.release = {}

    def begin(self, name: str, seconds_left: float | None = None, active: bool = True) -> Future[float]:
        """Begin a call, and return once it works, waits or was refused."""
        self.release[name] = threading.Event()
        waiting = self.admission.waiting
        future = self.pool.submit(self._run, name, seconds_left, active)
        while not (future.done() or name in self.order or self.admission.waiting > waiting):
            time.sleep(0.001)
        return future

    def wait_until_so_many_worked(self, number: int) -> None:
        """Return once so many calls have had their turn."""
        while len(self.order) < number:
            time.sleep(0.001)

    def _run(self, name: str, seconds_left: float | None, active: bool) -> float:
        with self.admission.turn(seconds_left, lambda: active) as waited:
            self.order.append(name)
            assert self.release[name].wait(60)
            return waited


@pytest.fixture
def refusals() -> list[str]:
    return []


@pytest.fixture
def calls(refusals: list[str]) -> Iterator[Calls]:
    calls = Calls(Admission(2, 5.0, refusals.append))
    yield calls
    for event in calls.release.values():
        event.set()
    calls.pool.shutdown()


def test_so_many_work_and_the_others_wait_in_order(calls: Calls) -> None:
    """A turn passes on to who has waited longest; the wait is told."""
    futures = [calls.begin(name) for name in "abcd"]
    assert (calls.order, calls.admission.running, calls.admission.waiting) == (["a", "b"], 2, 2)
    for number, name in enumerate("abcd"):
        calls.release[name].set()
        futures[number].result()
        calls.wait_until_so_many_worked(min(number + 3, 4))
    assert calls.order == list("abcd")
    assert futures[0].result() == 0
    assert futures[3].result() > 0
    assert (calls.admission.running, calls.admission.waiting) == (0, 0)


def test_who_would_wait_too_long_is_refused_at_once(refusals: list[str]) -> None:
    """By how long calls took lately; the error says when to come back."""
    calls = Calls(Admission(1, 0.05, refusals.append))
    first = calls.begin("slow")
    time.sleep(0.6)
    calls.release["slow"].set()
    first.result()
    calls.begin("a")
    refused = calls.begin("b").exception()
    calls.release["a"].set()
    assert isinstance(refused, Overloaded)
    assert "longer than 0.05 s" in str(refused)
    assert 0.02 < refused.retry_after_seconds < 0.2
    assert refusals == ["queue"]
    calls.pool.shutdown()


def test_who_waited_longer_than_allowed_is_refused_then(refusals: list[str]) -> None:
    """Where the work at hand takes longer than it took lately."""
    calls = Calls(Admission(1, 0.05, refusals.append))
    calls.begin("a")
    assert isinstance(calls.begin("b").exception(), Overloaded)
    assert refusals == ["waited"]
    assert calls.admission.waiting == 0
    calls.release["a"].set()
    calls.pool.shutdown()


def test_who_has_too_little_time_is_refused(refusals: list[str]) -> None:
    """The deadline may be nearer than the longest wait."""
    calls = Calls(Admission(1, 5.0, refusals.append))
    first = calls.begin("slow")
    time.sleep(0.5)
    calls.release["slow"].set()
    first.result()
    calls.begin("a")
    assert isinstance(calls.begin("hurried", seconds_left=0.06).exception(), Overloaded)
    assert refusals == ["deadline"]
    assert isinstance(calls.begin("late", seconds_left=0.0).exception(), DeadlineExceeded)
    calls.release["a"].set()
    calls.pool.shutdown()


def test_the_turn_of_a_caller_that_has_gone_passes_on(calls: Calls) -> None:
    """Without any work for it."""
    calls.begin("a"), calls.begin("b")
    gone, patient = calls.begin("gone", active=False), calls.begin("patient")
    for name in ("a", "patient"):
        calls.release[name].set()
    assert isinstance(gone.exception(), CallerGone)
    assert patient.result() > 0
    assert calls.order == ["a", "b", "patient"]


def test_a_call_that_fails_gives_its_turn_back() -> None:
    """Whatever it raises."""
    admission = Admission(1, 0.1)
    for _ in range(3):
        with pytest.raises(ValueError, match="work"), admission.turn():
            raise ValueError("work")
    assert admission.running == 0


class Slow(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Works until it is released, and says in the item's id how long the call waited."""

    def __init__(self) -> None:
        self.release, self.begun = threading.Event(), threading.Semaphore(0)
        self.waited: list[float] = []

    def GetItemKnowledge(self, request, context):
        self.waited.append(waited_seconds())
        self.begun.release()
        assert self.release.wait(60)
        return knowledge_pb2.GetItemKnowledgeResponse()


def test_a_server_refuses_with_retry_info_and_still_tells_its_health() -> None:
    """RESOURCE_EXHAUSTED before any work; a call that waits is answered later."""
    name, slow = "loreline.knowledge.v1.KnowledgeService", Slow()
    health = HealthMonitor({}, [name])
    options = ServerOptions("127.0.0.1:0", workers=8, admission=Admission(1, 0.2))
    add = knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server
    server = start_server(options, [Service(name, lambda server: add(slow, server))], health)
    address = server.address
    with grpc.insecure_channel(address) as channel:
        stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)
        request = knowledge_pb2.GetItemKnowledgeRequest()
        first = stub.GetItemKnowledge.future(request, timeout=240)
        assert slow.begun.acquire(timeout=240)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetItemKnowledge(request, timeout=240)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = {any_detail.TypeName(): any_detail for any_detail in rpc_status.from_call(refused.value).details}
        retry = error_details_pb2.RetryInfo()
        assert details["google.rpc.RetryInfo"].Unpack(retry)
        assert 0.05 < retry.retry_delay.ToTimedelta().total_seconds() < 0.5
        assert is_serving(address, "liveness")
        slow.release.set()
        first.result()
    assert slow.waited == [0.0]
    health.stop()
    server.stop(0).wait()
