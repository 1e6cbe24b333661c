"""The quick demo from beginning to end, as its user runs it: the whole one does the same with more films."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loreline.client import RankingClient
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def begin(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Begin a command over a home folder."""
    environment = os.environ | {
        "LORELINE_CLI_HOME": str(home),
        "COLUMNS": "120",
        "LORELINE_CLI_PREFERRED_PORTS": "false",
    }
    command = [str(Path(sys.executable).with_name("loreline")), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, cwd=home, **pipes)


def loreline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command over a home folder."""
    process = begin(home, *arguments)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home, and no process left behind."""
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    loreline(folder, "down")


@pytest.fixture(scope="module")
def interrupted(home: Path) -> subprocess.CompletedProcess[str]:
    """A quick demo that was interrupted as soon as the knowledge was stored."""
    process, stored = begin(home, "demo", "--quick"), home / "features" / "offline" / "user_knowledge.parquet"
    wait_until(lambda: stored.exists() or process.poll() is not None, 600, "the demo to store knowledge")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def demo(home: Path, interrupted: subprocess.CompletedProcess[str]) -> str:
    """What a quick demo printed, that went on where another was interrupted."""
    done = loreline(home, "demo", "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_an_interrupted_demo_says_what_is_kept_what_runs_and_how_to_go_on(
    interrupted: subprocess.CompletedProcess[str],
) -> None:
    """With the code of a command that was interrupted, and no traceback."""
    assert interrupted.returncode == 130
    for words in ("interrupted", "kept in", "still running: knowledge, embedding", "run the same command again"):
        assert words in interrupted.stdout, words
    assert "Traceback" not in interrupted.stderr


def test_every_step_is_shown_with_its_result(demo: str) -> None:
    """From the download to the commands to try next."""
    for words in (
        "films, 150 viewers", "AUC", "LogLoss", "GAUC", "is noise", "is active", "4 of 4 enriched", "best 10 of 200",
        "grpcurl", "loreline down"
    ):  # fmt: skip
        assert words in demo, words


def test_the_processes_run_on_and_answer(demo: str, home: Path) -> None:
    """All six are ready after the demo has ended."""
    statuses = json.loads(loreline(home, "status", "--json").stdout)
    assert [status["name"] for status in statuses if not status["ready"]] == []


def test_a_new_film_is_ranked_with_what_the_language_model_wrote(demo: str, home: Path) -> None:
    """Its provenance names the model, and the ranking uses the text."""
    item = json.loads((home / "new_items.jsonl").read_text().splitlines()[0])["item_id"]
    shown = json.loads(loreline(home, "knowledge", "show", item, "--json").stdout)
    assert "SmolLM2" in shown["knowledge"]["provenance"]["model"] or shown["knowledge"]["provenance"]["fallback_reason"]
    ranked = json.loads(loreline(home, "rank", "--user", "1", "--candidates", f"{item},50", "--json").stdout)
    assert ranked["knowledge_used"] == [True, True]


def test_a_second_version_can_be_promoted_and_rolled_back(demo: str, home: Path) -> None:
    """Ranking follows the pointer by itself, both ways."""
    address = {s["name"]: s["address"] for s in json.loads(loreline(home, "status", "--json").stdout)}["ranking"]
    trained = json.loads(loreline(home, "train", "--json").stdout)
    assert trained["version"] == "2"
    for command, version in ((["promote", "2"], "2"), (["rollback"], "1")):
        done = loreline(home, "models", *command)
        assert done.returncode == 0, done.stderr
        with RankingClient(address, timeout_seconds=100) as ranking:
            wait_until(
                lambda wanted=version: ranking.rank("1", "movies", ["50"]).model_version == wanted,
                what=f"ranking to follow to version {version}",
            )


def test_down_ends_every_process(demo: str, home: Path) -> None:
    """Dependents first."""
    stopped = json.loads(loreline(home, "down", "--json").stdout)["stopped"]
    assert stopped == ["ranking", "updater", "features", "embedding", "knowledge", "broker"]
