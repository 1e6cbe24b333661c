"""What README and docs name exists: commands, options, targets, settings, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from pydantic_settings import BaseSettings

from docs.settings_tables import PAGE, SETTINGS, with_tables
from services.cli.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "clients").glob("*/README.md")),
]
READ_ELSEWHERE = {
    "LORELINE_CACHE_DIRECTORY",
    "LORELINE_SCENARIO_DIRECTORY",
    "LORELINE_REDIS_CONNECTION",
    "LORELINE_FEATURE_DIRECTORY",
}


@pytest.fixture(params=PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def page(request: pytest.FixtureRequest) -> str:
    """One page's text."""
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_every_loreline_command_exists_with_its_options(page: str) -> None:
    """As typed in code, up to its arguments."""
    for line in _commands(page, "loreline"):
        command = typer.main.get_command(app)
        words = iter(shlex.split(line, comments=True)[1:])
        for word in words:
            if word.startswith("-"):
                options = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
                assert word in options | {"--help"}, line
            elif isinstance(command, click.Group) or hasattr(command, "commands"):
                assert word in command.commands, line
                command = command.commands[word]


def test_every_make_target_exists(page: str) -> None:
    """As typed in code."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in _commands(page, "make"):
        for target in shlex.split(line, comments=True)[1:]:
            assert target in targets, line


def test_every_variable_is_read_by_something(page: str) -> None:
    """A setting that is only in the docs would be worse than none."""
    known = READ_ELSEWHERE | {name for kind in SETTINGS for name in _variables(kind)}
    named = {name for name in re.findall(r"\bLORELINE_[A-Z_]+\b", page) if not name.endswith("_")}
    assert named <= known


def test_every_setting_is_in_the_reference_with_its_meaning() -> None:
    """The tables of docs/deploying.md follow the settings classes: `make settings-tables` writes them anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page


def test_relative_links_lead_to_files() -> None:
    """From every page."""
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def _variables(kind: type[BaseSettings]) -> list[str]:
    return [f"{kind.model_config['env_prefix']}{name.upper()}" for name in kind.model_fields]


def _commands(page: str, name: str) -> Iterator[str]:
    fenced = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    inline = re.findall(rf"`({name} [^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    for line in [*"\n".join(fenced).replace("\\\n", " ").splitlines(), *inline]:
        if line.startswith(f"{name} "):
            yield line.replace("NAME", "").replace("...", "")
