"""A real process from start to the end of its drain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import grpc
import pytest

from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.cli.local_processes import free_port
from tests.waiting import wait_until, wait_until_serving

SAMPLE = Path(__file__).with_name("sample_process.py")
KNOWLEDGE = ["-m", "services.knowledge"]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that is expected to end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LORELINE_")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=clean | variables, capture_output=True, text=True, timeout=240)


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port(0)}"


@pytest.fixture
def process(address: str) -> Iterator[subprocess.Popen[str]]:
    """The sample process, ready."""
    command = [sys.executable, str(SAMPLE), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            wait_until_serving(address, started)
            yield started
        finally:
            started.kill()


def _wait_until_it_works_on_a_call(stub: knowledge_pb2_grpc.KnowledgeServiceStub) -> None:
    asked = knowledge_pb2.GetUserKnowledgeRequest(user_id="slow calls")
    wait_until(lambda: stub.GetUserKnowledge(asked, timeout=240).knowledge.text != "0", what="the call to arrive")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Resources are closed, and every log line is JSON with the process's name."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0
    assert output == "closed\n"
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["event"] for line in lines][-2:] == ["draining", "stopped"]
    assert {line["process"] for line in lines} == {"sample"}


def test_a_drain_finishes_running_calls_and_ends_streams(process: subprocess.Popen[str], address: str) -> None:
    """A call that came before the signal gets its answer; an endless stream is told to stop."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(1) as pool:
        stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)
        stream = stub.GenerateItemKnowledge(knowledge_pb2.GenerateItemKnowledgeRequest(), timeout=240)
        assert next(stream).item_id == "first"
        running = pool.submit(stub.GetItemKnowledge, knowledge_pb2.GetItemKnowledgeRequest(), timeout=240)
        _wait_until_it_works_on_a_call(stub)
        process.send_signal(signal.SIGTERM)
        assert [response.item_id for response in stream] == ["last"]
        assert running.result().knowledge.text == "done"
    assert process.wait(120) == 0


def test_a_taken_port_stops_the_start(process: subprocess.Popen[str], address: str) -> None:
    """A second process on the address ends and says which."""
    second = run(str(SAMPLE), address)
    assert second.returncode != 0
    assert address in second.stderr


def test_missing_settings_are_named_and_end_the_process_with_2() -> None:
    """One line for each variable."""
    ended = run(*KNOWLEDGE)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "cannot start: LORELINE_KNOWLEDGE_LISTEN_ADDRESS: Field required",
        "cannot start: LORELINE_KNOWLEDGE_STORE_PATH: Field required",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LORELINE_KNOWLEDGE_MAX_NEW_TOKENS", "many"),
        ("LORELINE_KNOWLEDGE_DEFAULT_PROVIDER", "oracle"),
        ("LORELINE_KNOWLEDGE_FALLBACK_PROVIDER", "oracle"),
        ("LORELINE_KNOWLEDGE_STORE_PATH", "/dev/null/knowledge.db"),
        ("LORELINE_KNOWLEDGE_LOG_LEVEL", "LOUD"),
    ],
)
def test_wrong_settings_end_the_process_with_2(tmp_path: Path, address: str, name: str, value: str) -> None:
    """The message says which variable, or what cannot be had."""
    given = {
        "LORELINE_KNOWLEDGE_LISTEN_ADDRESS": address,
        "LORELINE_KNOWLEDGE_STORE_PATH": str(tmp_path / "knowledge.db"),
    }
    ended = run(*KNOWLEDGE, **(given | {name: value}))
    assert ended.returncode == 2, ended.stderr
    assert "cannot start: " in ended.stderr
    assert name in ended.stderr or "knowledge store" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_mistyped_variable_ends_the_process_with_the_right_name(tmp_path: Path, address: str) -> None:
    """Silently passed over, it would leave a default where somebody had decided otherwise."""
    ended = run(
        *KNOWLEDGE,
        LORELINE_KNOWLEDGE_LISTEN_ADDRESS=address,
        LORELINE_KNOWLEDGE_STORE_PAHT=str(tmp_path / "knowledge.db"),
        LORELINE_KNOWLEDGE_SERVICE_HOST="10.0.0.1",
        LORELINE_UPDATER_TYPO="another process's",
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "cannot start: LORELINE_KNOWLEDGE_STORE_PAHT: there is no such setting; did you mean 'STORE_PATH'?"
    ]


def test_a_provider_without_its_address_stops_the_start(tmp_path: Path, address: str) -> None:
    """A default provider that cannot be built is a wrong setting."""
    ended = run(
        *KNOWLEDGE,
        LORELINE_KNOWLEDGE_LISTEN_ADDRESS=address,
        LORELINE_KNOWLEDGE_STORE_PATH=str(tmp_path / "knowledge.db"),
        LORELINE_KNOWLEDGE_DEFAULT_PROVIDER="tgi",
    )
    assert ended.returncode == 2
    assert "LORELINE_KNOWLEDGE_TGI_URL" in ended.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("name: [unclosed", "movies.yaml"), (None, "plot"), ("name: movies", "rating")],
    ids=["no YAML", "undefined name in a prompt", "missing field"],
)
def test_a_wrong_scenario_stops_the_start(tmp_path: Path, address: str, text: str | None, words: str) -> None:
    """Seen before the first request, with the file or the scenario."""
    shipped = (resources.files("services.scenarios") / "movies.yaml").read_text(encoding="utf-8")
    changed = shipped.replace("{{ item.title }}", "{{ item.plot }}", 1) if text is None else text
    (tmp_path / "movies.yaml").write_text(changed, encoding="utf-8")
    ended = run(
        *KNOWLEDGE,
        LORELINE_SCENARIO_DIRECTORY=str(tmp_path),
        LORELINE_KNOWLEDGE_LISTEN_ADDRESS=address,
        LORELINE_KNOWLEDGE_STORE_PATH=str(tmp_path / "knowledge.db"),
    )
    assert ended.returncode == 2, ended.stderr
    assert "cannot start: " in ended.stderr
    assert "movies" in ended.stderr
    assert words in ended.stderr
