"""The `loreline` command as its user types it, with no process running."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry
from tests.model_versions import register_version
from tests.unit.cli.command import Command

COMMANDS = [
    [],
    ["up"],
    ["status"],
    ["down"],
    ["items", "publish"],
    ["items", "delete"],
    ["interactions", "publish"],
    ["knowledge", "show"],
    ["rank"],
    ["recommend"],
    ["explain"],
    ["train"],
    ["evaluate"],
    ["data", "load"],
    ["factors", "elicit"],
    ["knowledge", "build"],
    ["knowledge", "import"],
    ["knowledge", "export"],
    ["knowledge", "suspects"],
    ["models", "list"],
    ["models", "promote"],
    ["models", "rerank"],
    ["models", "rollback"],
    ["dlq", "list"],
    ["dlq", "show"],
    ["dlq", "replay"],
    ["dlq", "discard"],
    ["knowledge", "rebuild"],
    ["knowledge", "restore"],
    ["topics", "create"],
    ["topics", "list"],
    ["models", "canary"],
    ["models", "shadow"],
    ["models", "experiment"],
    ["models", "compare"],
    ["demo"],
]


def loreline(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", *arguments]
    environment = {"LORELINE_CLI_HOME": str(home), "PATH": "/usr/bin:/bin", "COLUMNS": "200", **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(tmp_path: Path, command: list[str]) -> None:
    """--help ends with 0 and says more than the options."""
    done = Command(tmp_path, {})(*command, "--help")

    assert done.code == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "ranker"], "there is no process 'ranker'"),
        (["items", "publish", "nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["rank", "--user", "1"], "--candidates"),
        (["rank", "--user", "1", "--candidates", ""], "must name at least one item"),
        (["rank", "--user", "1", "--candidates", "@nowhere"], "cannot read nowhere"),
        (["explain", "--user", "1"], "--item"),
        (["recommend", "--user", "1", "--where", "genre"], "--where: must be FIELD=VALUE"),
        (["recommend", "--user", "1", "--count", "0"], "--count"),
        (["models", "rerank", "7"], "no re-ranker '7'"),
        (["models", "rerank"], "give the number of a re-ranker"),
        (["models", "promote", "7"], "no model version '7'"),
        (["models", "rollback"], "no earlier version"),
        (["models", "promote", "7", "--canary", "5%"], "no model version '7'; there are: none"),
        (["models", "promote", "7", "--shadow", "500%"], "--shadow: must be a share of the users such as 5%"),
        (["models", "promote", "7", "--canary", "few"], "--canary: must be a share of the users such as 5%"),
        (["models", "canary", "--stop"], "there is no canary"),
        (["models", "experiment", "--knowledge-off", "10%"], "no version is active yet"),
        (["knowledge", "build", "--mode", "collective", "--subject", "item"], "--subject: must be both"),
        (["models", "promote"], "version"),
        (["dlq", "list", "--since", "yesterday"], "--since: must be a moment such as 2026-03-01"),
        (["dlq", "list", "--at", "12"], "--at: must be PARTITION:OFFSET"),
        (["dlq", "replay"], "give --everything"),
        (["knowledge", "rebuild", "--where", "prompt<3"], "there is no field 'prompt'"),
        (["fly"], "fly"),
        (["evaluate", "--vary", "seeds=1,2"], "--vary: must be FIELD=VALUE"),
        (["evaluate", "--set", "epochs=0"], "epochs: "),
        (["evaluate", "--config", "dinn"], "no training config 'dinn'; did you mean 'din'?"),
        (["train", "--config", "unictr-studnt"], "did you mean 'unictr-student'?"),
        (["data", "load", "movielens"], "there is no dataset 'movielens'; did you mean 'movielens-"),
        (["knowledge", "build", "--provider", "openia"], "--provider: must be one of"),
        (["knowledge", "import", "nowhere.json", "--subject", "item"], "nowhere.json: No such file"),
        (["domains", "add", "books", "--version", "7"], "--version: no model version '7'"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_change(tmp_path: Path, arguments: list[str], words: str) -> None:
    """The user reads which argument was wrong."""
    done = Command(tmp_path, {})(*arguments)

    assert done.code == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("START_TIMEOUT_SECONDS", "abc", "LORELINE_CLI_START_TIMEOUT_SECONDS: Input should be a valid number"),
        ("STOP_TIMEOUT_SECONDS", "-1", "LORELINE_CLI_STOP_TIMEOUT_SECONDS: Input should be greater than 0"),
        ("KNOWLEDGE_PROVIDER", "gpt", "LORELINE_CLI_KNOWLEDGE_PROVIDER: Input should be 'catalogue'"),
        ("KNOWLEDGE_PROVIDER", "catalog", "did you mean 'catalogue'?"),
        ("HOME", __file__, "LORELINE_CLI_HOME: must be a folder"),
        ("HOME", f"{__file__}/home", "LORELINE_CLI_HOME: must be a folder"),
        ("HOME", "/proc/home", "/proc/home"),
        ("HOEM", "here", "LORELINE_CLI_HOEM: there is no such setting; did you mean 'HOME'?"),
    ],
)
def test_a_wrong_setting_ends_with_2_before_anything_is_started(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    """The message names the variable, or the folder that cannot be made."""
    done = Command(tmp_path, {})("up", "broker", **{name: value})

    assert done.code == 2
    assert words in done.stderr


def test_the_installed_command_ends_with_the_same_code_and_words(tmp_path: Path) -> None:
    """Without a stack trace, and with nothing on standard output."""
    done = loreline(tmp_path, "models", "promote", "7")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no model version '7'; there are: none\n"


def test_a_service_that_is_not_up_ends_with_1_and_says_how_to_start_it(tmp_path: Path) -> None:
    """The message names the next command."""
    done = loreline(tmp_path, "rank", "--user", "1", "--candidates", "1,2")

    assert done.returncode == 1
    assert "loreline up" in done.stderr


def test_status_without_processes_shows_none_live(tmp_path: Path) -> None:
    """--json is one document with all six processes."""
    statuses = json.loads(loreline(tmp_path, "status", "--json").stdout)

    assert [status["name"] for status in statuses] == [
        "broker", "knowledge", "embedding", "features", "updater", "ranking"
    ]  # fmt: skip
    assert not any(status["live"] for status in statuses)


def test_a_taken_port_is_left_to_its_owner(tmp_path: Path) -> None:
    """Up allots another port than the one somebody listens on."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 50055))
        except OSError:
            pytest.skip("port 50055 is not ours to take on this machine")
        taken.listen()
        statuses = json.loads(loreline(tmp_path, "status", "--json").stdout)

    assert {s["name"]: s["address"] for s in statuses}["ranking"] != "127.0.0.1:50055"


def test_the_broker_starts_answers_and_stops(tmp_path: Path) -> None:
    """Up waits until it answers; down ends it; a second down finds nothing."""
    up = loreline(tmp_path, "up", "broker", "--json", LORELINE_CLI_PREFERRED_PORTS="false")
    states = {status["name"]: status["live"] for status in json.loads(up.stdout)}
    stopped = [json.loads(loreline(tmp_path, "down", "--json").stdout)["stopped"] for _ in range(2)]

    assert states["broker"] is True
    assert stopped == [["broker"], []]


@pytest.mark.parametrize(
    ("trained", "steps"),
    [(0, "`loreline train`, then `loreline models promote 1`"), (2, "`loreline models promote 2`")],
)
def test_up_says_what_ranking_still_waits_for(tmp_path: Path, trained: int, steps: str) -> None:
    """What was trained already only has to be promoted."""
    for _ in range(trained):
        register_version(ModelRegistry(CliSettings(home=tmp_path).model_registry))
    up = loreline(tmp_path, "up", "ranking", LORELINE_CLI_PREFERRED_PORTS="false")
    loreline(tmp_path, "down")

    assert f"ranking waits for a model: {steps}" in up.stdout


def test_a_service_whose_address_is_set_is_asked_and_never_started(tmp_path: Path, broker: str) -> None:
    """Status shows it live without a process of ours, and down leaves it alone."""
    up = json.loads(loreline(tmp_path, "up", "broker", "--json", LORELINE_CLI_BROKER_ADDRESS=broker).stdout)[0]
    down = json.loads(loreline(tmp_path, "down", "--json", LORELINE_CLI_BROKER_ADDRESS=broker).stdout)

    assert (up["address"], up["live"], up["pid"]) == (broker, True, None)
    assert down["stopped"] == []
