"""The knowledge process: start, readiness, drain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from knowledge_parts import item

from loreline.client import ClientError, KnowledgeClient, is_serving
from services.cli.local_processes import free_port
from tests.language_model_stub import FaultStub
from tests.waiting import wait_until, wait_until_serving

CALLS = 80  # more than there are threads for
StartProcess = Callable[..., tuple[str, subprocess.Popen[str]]]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """Starts a process with the given LORELINE_KNOWLEDGE_* variables; gives its address and itself, live."""
    started: list[subprocess.Popen[str]] = []

    def begin(**values: str) -> tuple[str, subprocess.Popen[str]]:
        address = f"127.0.0.1:{free_port(0)}"
        given = {"listen_address": address, "store_path": str(tmp_path / "knowledge.db")} | values
        variables = {f"LORELINE_KNOWLEDGE_{name.upper()}": value for name, value in given.items()}
        command = [sys.executable, "-m", "services.knowledge"]
        process = subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True)
        started.append(process)
        wait_until_serving(address, process, "liveness")
        return address, process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_process_serves_drains_and_keeps_its_answers(start_process: StartProcess) -> None:
    """The next process over the same file asks nothing again."""
    for reused in (False, True):
        address, process = start_process()
        assert all(is_serving(address, name) for name in ("readiness", "dependency/store", "dependency/provider"))
        with KnowledgeClient(address, timeout_seconds=100) as client:
            assert next(client.generate_for_items("movies", [item()])).reused is reused
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0


def test_a_model_server_that_is_down_takes_readiness(start_process: StartProcess, stub: FaultStub) -> None:
    """The process stays live, and answers what it has stored."""
    address, _ = start_process(default_provider="tgi", tgi_url=stub.url("503"))
    assert is_serving(address, "liveness")
    assert is_serving(address, "dependency/store")
    assert not is_serving(address, "dependency/provider")
    assert not is_serving(address, "readiness")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SCENARIO_TOKENS_PER_HOUR": "lots"}, "SCENARIO_TOKENS_PER_HOUR: Value error, must be a JSON object"),
        ({"SCENARIO_TOKENS_PER_HOUR": '{"cinema": 5}'}, "SCENARIO_TOKENS_PER_HOUR: must name scenarios of"),
        ({"METRICS_ADDRESS": "everywhere"}, "metrics_address: must be a host:port"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_its_name(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    """With code 2, before anything is served."""
    given = {"LISTEN_ADDRESS": f"127.0.0.1:{free_port(0)}", "STORE_PATH": str(tmp_path / "knowledge.db")} | variables
    environment = os.environ | {f"LORELINE_KNOWLEDGE_{name}": value for name, value in given.items()}
    command = [sys.executable, "-m", "services.knowledge"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert words in done.stderr


def test_more_calls_than_a_process_holds_may_hang_and_it_is_alive(start_process: StartProcess, stub: FaultStub) -> None:
    """Health is told by threads of its own; a probe that failed would have the calls' process killed with them."""
    stub.hang_seconds = 1000
    patience = {
        "max_concurrent_questions": "100",
        "request_timeout_seconds": "1000",
        "question_deadline_seconds": "1000",
    }
    address, process = start_process(default_provider="tgi", tgi_url=stub.url("slow"), **patience)
    with KnowledgeClient(address, timeout_seconds=500) as client, ThreadPoolExecutor(CALLS) as pool:
        asked = [pool.submit(_asked, client, f"film-{number}") for number in range(CALLS)]
        wait_until(lambda: stub.running + sum(one.done() for one in asked) >= CALLS, what="all calls to hang or end")
        assert stub.running > 10
        assert all(is_serving(address, name) for name in ("liveness", "dependency/store"))
        process.kill()
        assert {one.result(100) for one in asked} <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}


def _asked(client: KnowledgeClient, item_id: str) -> str:
    """The status that asking about an item ends with."""
    try:
        list(client.generate_for_items("movies", [item(item_id, title=f"Title of {item_id}")]))
    except ClientError as error:
        return error.code
    return "OK"


@pytest.mark.slow
def test_a_silent_model_server_does_not_hold_the_drain(start_process: StartProcess, stub: FaultStub) -> None:
    """A call that waits for a model is given up at the end of the drain, and the process ends with 0."""
    address, process = start_process(default_provider="tgi", tgi_url=stub.url("slow"))
    with KnowledgeClient(address, timeout_seconds=100) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: list(client.generate_for_items("movies", [item()])))
        wait_until(lambda: stub.calls["slow"], what="the model to be asked")
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        with pytest.raises(ClientError):
            asked.result(100)
