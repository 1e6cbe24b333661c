"""The knowledge process: start, readiness, drain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from knowledge_parts import item

from loreline.client import ClientError, KnowledgeClient, is_serving
from services.cli.local_processes import free_port
from tests.language_model_stub import FaultStub

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
        _wait_until_live(address, process)
        return address, process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _wait_until_live(address: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while not is_serving(address, "liveness"):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "not live"
        time.sleep(0.05)


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


@pytest.mark.slow
def test_a_silent_model_server_does_not_hold_the_drain(start_process: StartProcess, stub: FaultStub) -> None:
    """A call that waits for a model is given up at the end of the drain, and the process ends with 0."""
    address, process = start_process(default_provider="tgi", tgi_url=stub.url("slow"))
    with KnowledgeClient(address, timeout_seconds=100) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: list(client.generate_for_items("movies", [item()])))
        while not stub.calls["slow"]:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        with pytest.raises(ClientError):
            asked.result(100)
