"""The quick demo from beginning to end, as its user runs it: the whole one does the same with more films."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loreline.client import RankingClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def loreline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command over a home folder."""
    environment = os.environ | {
        "LORELINE_CLI_HOME": str(home),
        "COLUMNS": "120",
        "LORELINE_CLI_PREFERRED_PORTS": "false",
    }
    command = [str(Path(sys.executable).with_name("loreline")), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home, and no process left behind."""
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    loreline(folder, "down")


@pytest.fixture(scope="module")
def demo(home: Path) -> str:
    """What a quick demo printed."""
    done = loreline(home, "demo", "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


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
            assert _version_after_following(ranking, version) == version


def test_down_ends_every_process(demo: str, home: Path) -> None:
    """Dependents first."""
    stopped = json.loads(loreline(home, "down", "--json").stdout)["stopped"]
    assert stopped == ["ranking", "updater", "features", "embedding", "knowledge", "broker"]


def _version_after_following(ranking: RankingClient, wanted: str) -> str:
    deadline = time.monotonic() + 100
    while (version := ranking.rank("1", "movies", ["50"]).model_version) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return version
