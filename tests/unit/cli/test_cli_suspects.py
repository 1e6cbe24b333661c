"""`loreline knowledge suspects` against a running knowledge service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loreline.client.knowledge import Suspect
from loreline.domain import Knowledge, Provenance
from services.knowledge.assembly import assemble
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import ProviderPool, build_provider
from services.knowledge.servicer import SERVICE_NAME, service
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server

SOURCE = Provenance(
    "a" * 64, "tgi", "model-7b", "movies", 1, (), 50, 31, "stop", datetime(2026, 3, 1, tzinfo=UTC), "{}"
)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A service that keeps two suspects, one of them under the name of a lie."""
    health = HealthMonitor({}, [SERVICE_NAME])
    settings = KnowledgeSettings(listen_address="127.0.0.1:0", store_path=tmp_path / "knowledge.db")
    keep(settings.store_path)
    parts = assemble(
        settings, ProviderPool(["catalogue"], lambda name: build_provider(name, settings)), KnowledgeMetrics()
    )
    server = start_server(
        ServerOptions("127.0.0.1:0", workers=2), [service(parts.generator, parts.elicitor, parts.archive)], health
    )
    address = server.address
    yield address
    health.stop()
    server.stop(0).wait()
    parts.close()


def keep(path: Path) -> None:
    """Put two suspects into a store."""
    store = KnowledgeStore(path)
    suspects = SuspectStore(store.database)
    suspects.put(Suspect("user", "7", Knowledge("User: and then?", SOURCE), "PROMPT_ECHO", "prompt echo: markers"))
    suspects.put(Suspect("item", "1", Knowledge("It came in 1950.", SOURCE), "CONTRADICTION", "contradiction: year"))
    store.close()


def run(home: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does."""
    command = [sys.executable, "-m", "services.cli", "knowledge", "suspects", *arguments]
    environment = {"LORELINE_CLI_HOME": str(home), "LORELINE_CLI_KNOWLEDGE_ADDRESS": address, "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


def test_suspects_are_shown_newest_first_with_reason_and_text(tmp_path: Path, address: str) -> None:
    """A table for people."""
    done = run(tmp_path, address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("It came in 1950.") < done.stdout.index("User: and then?")
    assert "CONTRADICTION" in done.stdout


def test_programs_get_everything_as_json(tmp_path: Path, address: str) -> None:
    """Provenance included, chosen by reason."""
    done = run(tmp_path, address, "--reason", "CONTRADICTION", "--scenario", "movies", "--json")
    found = json.loads(done.stdout)
    assert [(one["subject_id"], one["reason"]) for one in found] == [("1", "CONTRADICTION")]
    assert found[0]["knowledge"]["provenance"]["model"] == "model-7b"


def test_none_kept_is_said(tmp_path: Path, address: str) -> None:
    """An empty table would leave its reader in doubt."""
    done = run(tmp_path, address, "--reason", "LOW_AGREEMENT")
    assert (done.returncode, done.stdout.strip()) == (0, "no suspects are kept")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--scenario", "cinema"], "movies"), (["--reason", "LIES"], "LOW_AGREEMENT"), (["--most", "0"], "--most")],
)
def test_a_wrong_option_ends_with_2_and_what_was_expected(
    tmp_path: Path, address: str, arguments: list[str], words: str
) -> None:
    """From the service or from the command line itself."""
    done = run(tmp_path, address, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
