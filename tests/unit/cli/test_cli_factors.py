"""`loreline factors elicit` against a knowledge service whose language model answers as a test says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from services.knowledge.assembly import assemble
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderPool
from services.knowledge.servicer import SERVICE_NAME, service
from services.knowledge.settings import KnowledgeSettings
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server
from services.scenarios.drafts import source_of

LIST = "1. Number of players\n2. Playing time\n3. Theme: what it is about\n4. Luck or skill"
FACTORS = ["number of players", "playing time", "theme", "luck or skill"]


class Lister:
    """A language model that always writes the same."""

    prompt_style, can_sample = PromptStyle.OPEN, True

    def __init__(self, text: str) -> None:
        self._text = text

    def model(self) -> str:
        """One name for all."""
        return "lister-1"

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """The same for every prompt."""
        for index, _ in enumerate(prompts):
            yield index, Completion(self._text)

    def answers(self) -> bool:
        """Always."""
        return True

    def limits(self) -> Limits:
        """Few tokens."""
        return Limits(100)

    def is_paused(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Nothing to close."""


@contextmanager
def serving(folder: Path, text: str) -> Iterator[str]:
    """The address of a knowledge service over a model that writes this text."""
    health = HealthMonitor({}, [SERVICE_NAME])
    settings = KnowledgeSettings(
        listen_address="127.0.0.1:0",
        store_path=folder / "knowledge.db",
        default_provider="embedded",
        fallback_provider="",
    )
    pool = ProviderPool(["embedded"], lambda _: Lister(text))  # type: ignore[arg-type,return-value]
    parts = assemble(settings, pool, KnowledgeMetrics())
    made = service(parts.generator, parts.elicitor, parts.archive)
    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [made], health)
    address = server.address
    yield address
    health.stop()
    server.stop(0).wait()
    parts.close()


def elicit(home: Path, address: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "factors", "elicit", *arguments]
    addresses = {f"LORELINE_CLI_{name}_ADDRESS": address for name in ("KNOWLEDGE", "EMBEDDING")}
    environment = {"LORELINE_CLI_HOME": str(home), "PATH": "/usr/bin:/bin", "COLUMNS": "200", **addresses, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path, LIST) as running:
        yield running


def test_a_known_scenario_gets_the_new_factors_and_keeps_the_rest(tmp_path: Path, address: str) -> None:
    """The file lies where a person can edit it, and the next step is said."""
    done = elicit(tmp_path, address, "movies")

    written = tmp_path / "scenarios" / "movies.yaml"
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(written.read_text())["factors"] == FACTORS
    assert written.read_text().splitlines()[0] == (source_of("movies") or "").splitlines()[0]
    assert all(words in done.stdout for words in (*FACTORS, str(written), "LORELINE_SCENARIO_DIRECTORY"))


def test_an_unknown_scenario_gets_a_first_draft(tmp_path: Path, address: str) -> None:
    """In the folder of one's own scenarios, with the description given; --json is one document."""
    own = {"LORELINE_SCENARIO_DIRECTORY": str(tmp_path / "own")}
    done = elicit(tmp_path, address, "board_games", "--about", "Games for a table.", "--json", **own)

    document = yaml.safe_load((tmp_path / "own" / "board_games.yaml").read_text())
    assert json.loads(done.stdout)["factors"] == FACTORS == document["factors"]
    assert (document["name"], document["description"]) == ("board_games", "Games for a table.")


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, address: str) -> None:
    """Not without --force, and no model is asked."""
    written = tmp_path / "mine.yaml"
    written.write_text("my work")
    refused = elicit(tmp_path, address, "movies", "--output", str(written))
    kept = written.read_text()
    forced = elicit(tmp_path, address, "movies", "--output", str(written), "--force")

    assert (refused.returncode, kept) == (2, "my work")
    assert "--force" in refused.stderr
    assert forced.returncode == 0
    assert yaml.safe_load(written.read_text())["factors"] == FACTORS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["board_games"], "--about"),
        (["../movies", "--about", "x"], "scenario"),
        (["movies", "--provider", "oracle"], "embedded"),
    ],
)
def test_bad_input_ends_with_2(tmp_path: Path, address: str, arguments: list[str], words: str) -> None:
    """And nothing is written."""
    done = elicit(tmp_path, address, *arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.rglob("*.yaml"))


def test_an_answer_without_a_list_ends_with_1(tmp_path: Path) -> None:
    """The message says what was wrong with it."""
    with serving(tmp_path, "I would rather talk about the weather.") as address:
        done = elicit(tmp_path, address, "movies")

    assert done.returncode == 1
    assert "at least 3 factors" in done.stderr
    assert not list(tmp_path.rglob("*.yaml"))
