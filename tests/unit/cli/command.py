"""Runs the `loreline` command in this process, against a given broker or service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from services.cli.__main__ import app


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """What --json printed."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Command:
    """The command with settings of its own; `variables` as LORELINE_CLI_NAME."""

    home: Path
    variables: dict[str, str]

    def __call__(self, *arguments: str, answer: str | None = None, **variables: str) -> Done:
        """Run it; `answer` is typed on standard input."""
        settings = {"HOME": str(self.home), "PREFERRED_PORTS": "false", **self.variables, **variables}
        environment = {f"LORELINE_CLI_{name}": value for name, value in settings.items()} | {"COLUMNS": "200"}
        done = CliRunner().invoke(app, list(arguments), input=answer, env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)


def on_topics_of_its_own(home: Path, broker: str, name: str) -> Command:
    """The command on a broker that other tests use too: every topic's name begins with `name`."""
    kinds = ("items", "interactions", "enriched", "knowledge", "dead_letter", "dead_letter_resolutions")
    topics = {f"{kind.upper()}_TOPIC": f"{name}-{kind.replace('_', '-')}" for kind in kinds}
    return Command(home, {"BROKER_ADDRESS": broker, **topics})
