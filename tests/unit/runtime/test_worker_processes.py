"""Several real processes of one service on one port, and the supervisor that keeps them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from prometheus_client import CollectorRegistry, Counter

from loreline.client import KnowledgeClient, is_serving
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.cli.local_processes import free_port
from services.runtime.metrics import serve_metrics
from services.runtime.shared_port import PortUnavailable, reserve_port
from services.runtime.worker_processes import SupervisorPolicy
from tests.waiting import wait_until

SAMPLE = Path(__file__).with_name("sample_process.py")
ALONE = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, not one that another channel opened


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port(0)}"


def start(*arguments: str) -> subprocess.Popen[str]:
    """The sample process with arguments."""
    command = [sys.executable, str(SAMPLE), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def supervisor(address: str) -> Iterator[subprocess.Popen[str]]:
    """Two workers behind one command, both serving."""
    with start(address, "2") as process:
        try:
            wait_until(lambda: len(workers(address)) == 2)
            yield process
        finally:
            process.kill()  # the workers follow


@contextmanager
def connection(address: str) -> Iterator[knowledge_pb2_grpc.KnowledgeServiceStub]:
    """A stub on a connection of its own."""
    with grpc.insecure_channel(address, options=ALONE) as channel:
        yield knowledge_pb2_grpc.KnowledgeServiceStub(channel)


def worker_of(stub: knowledge_pb2_grpc.KnowledgeServiceStub) -> int:
    """The process id of the worker that has the connection."""
    return int(stub.GetUserKnowledge(knowledge_pb2.GetUserKnowledgeRequest(), timeout=240).knowledge.text)


def slow_calls(stub: knowledge_pb2_grpc.KnowledgeServiceStub) -> int:
    """How many have arrived at the worker that has the connection."""
    asked = knowledge_pb2.GetUserKnowledgeRequest(user_id="slow calls")
    return int(stub.GetUserKnowledge(asked, timeout=240).knowledge.text)


def workers(address: str) -> set[int]:
    """The process ids that answer on 30 connections; one of two is missed once in 500 million times."""
    found = set()
    for _ in range(30):
        with connection(address) as stub:
            try:
                found.add(worker_of(stub))
            except grpc.RpcError:
                continue
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def events(errors: str) -> list[dict[str, object]]:
    """The lines of a log."""
    return [json.loads(line) for line in errors.splitlines()]


def test_every_worker_serves_on_the_one_address(supervisor: subprocess.Popen[str], address: str) -> None:
    """The supervisor itself takes no connection; health answers on the same port."""
    assert supervisor.pid not in workers(address)
    assert is_serving(address)


def test_a_killed_worker_is_replaced_while_calls_go_on(supervisor: subprocess.Popen[str], address: str) -> None:
    """No call of a client fails, and two workers serve again."""
    first, done, answered = workers(address), threading.Event(), 0

    def call() -> int:
        count = 0
        with KnowledgeClient(address, timeout_seconds=60) as client:
            while not done.wait(0.005):
                client.user_knowledge("1")
                count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call) for _ in range(3)]
        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: len(workers(address) - first) == 1)
        done.set()
        answered = min(running.result() for running in calls)
    assert answered > 0
    assert workers(address) & first == {max(first)}


def test_a_signal_drains_every_worker(supervisor: subprocess.Popen[str], address: str) -> None:
    """Calls that came before it are answered, streams are told to end, resources are closed, the exit code is 0."""
    with connection(address) as one, connection(address) as other, ThreadPoolExecutor(2) as pool:
        stream = one.GenerateItemKnowledge(knowledge_pb2.GenerateItemKnowledgeRequest(), timeout=240)
        assert next(stream).item_id == "first"
        asked = knowledge_pb2.GetItemKnowledgeRequest()
        running = [pool.submit(stub.GetItemKnowledge, asked, timeout=240) for stub in (one, other)]
        wait_until(lambda: sum({worker_of(stub): slow_calls(stub) for stub in (one, other)}.values()) == 2)
        supervisor.send_signal(signal.SIGTERM)
        assert [response.item_id for response in stream] == ["last"]
        assert [call.result().knowledge.text for call in running] == ["done", "done"]
    output, errors = supervisor.communicate(timeout=240)
    assert (supervisor.returncode, output) == (0, "closed\nclosed\n")
    lines = events(errors)
    assert {line["process"] for line in lines} == {"sample"}
    assert {line["worker"] for line in lines if line["event"] == "stopped"} == {0, 1}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_of_another_service_of_ours_is_refused(
    supervisor: subprocess.Popen[str], address: str, processes: str
) -> None:
    """Though that one shares it among its own workers."""
    with start(address, processes) as second:
        _, errors = second.communicate(timeout=240)
    assert second.returncode == 2
    assert address in errors
    assert "Traceback" not in errors


def test_a_port_of_another_program_is_refused(address: str) -> None:
    """Also when that program would share it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        other.listen()
        with start(address, "2") as process:
            _, errors = process.communicate(timeout=240)
    assert process.returncode == 2
    assert errors == f"cannot start: cannot listen on {address}: Address already in use\n"


@pytest.mark.parametrize(("code", "given"), [(3, 1), (2, 2)], ids=["crash", "wrong settings"])
def test_workers_that_never_start_end_the_command(address: str, code: int, given: int) -> None:
    """After a few tries with 1; at once with 2 where a worker refuses its settings, which no retry heals."""
    with start(address, "2", str(code)) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == given
    told = [line for line in events(errors) if line["event"] == "giving up: no worker stays"]
    assert told
    assert told[0]["code"] == code


def test_workers_end_when_their_supervisor_is_killed(supervisor: subprocess.Popen[str], address: str) -> None:
    """So that nothing is left on the port."""
    left = workers(address)
    supervisor.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in left))
    reserve_port(address).close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("127.0.0.1", "must be host:port"),
        ("127.0.0.1:0", "a port of 1 to 65535"),
        ("127.0.0.1:70000", "a port of 1 to 65535"),
        ("unix:/tmp/socket", "must be host:port"),
        ("203.0.113.7:50055", "cannot listen on 203.0.113.7:50055"),
    ],
)
def test_an_address_that_cannot_be_shared_is_refused(given: str, words: str) -> None:
    """With what was expected."""
    with pytest.raises(PortUnavailable, match=words):
        reserve_port(given)


def test_a_port_is_reserved_by_one_alone(address: str) -> None:
    """Two that come before either listens do not both get it."""
    with reserve_port(address), pytest.raises(PortUnavailable, match="already in use"):
        reserve_port(address)


def test_a_name_with_several_addresses_is_reserved_on_each() -> None:
    """As localhost, which may have ::1 as well; an address that the machine lacks is passed over."""
    port = free_port(0)
    with reserve_port(f"localhost:{port}"), pytest.raises(PortUnavailable):
        reserve_port(f"127.0.0.1:{port}")


def test_pauses_double_up_to_the_longest() -> None:
    """Each is half to all of its bound."""
    policy = SupervisorPolicy(first_pause_seconds=1, longest_pause_seconds=5)
    bounds = [1, 1, 2, 4, 5, 5]
    for failures, bound in enumerate(bounds):
        assert bound / 2 <= policy.pause_seconds(failures) <= bound
    assert policy.pause_seconds(10_000) <= 5


def test_a_worker_serves_its_metrics_on_a_port_of_its_own(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address's port and the worker's number."""
    monkeypatch.setenv("LORELINE_WORKER_NUMBER", "1")
    registry, port = CollectorRegistry(), int(address.rpartition(":")[2])
    Counter("loreline_sample_calls", "Calls.", registry=registry).inc()
    serve_metrics(registry, f"127.0.0.1:{port - 1}")
    with urlopen(f"http://{address}/metrics", timeout=240) as response:
        assert b"loreline_sample_calls_total 1.0" in response.read()
