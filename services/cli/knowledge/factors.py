"""`loreline factors ...`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from loreline.client import ElicitedFactors, Failure, KnowledgeClient
from services.cli import output
from services.cli.output import BadInput, JsonOption, NotReady, exit_codes
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.scenarios import InvalidScenario
from services.scenarios.drafts import new_scenario, source_of, with_factors

TIMEOUT_SECONDS = 600.0
factors_app = typer.Typer(help="Find out what people choose by in a scenario.", no_args_is_help=True)


@factors_app.command("elicit")
def elicit(
    scenario: Annotated[str, typer.Argument(help="A configured scenario, or the name of a new one: board_games.")],
    provider: Annotated[str, typer.Option(help="Whom to ask: embedded, tgi, openai.")] = "embedded",
    about: Annotated[str, typer.Option(help="What the items are and who rates them; a new scenario needs it.")] = "",
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the scenario's file.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Ask a language model for the important factors of SCENARIO and write them into a scenario file to edit.

    Without --output the file is NAME.yaml in the folder of LORELINE_SCENARIO_DIRECTORY, or else in .loreline/scenarios.

    Example: loreline factors elicit board_games --about "Games for a table, rated by players from 1 to 5."
    """
    with exit_codes():
        settings = CliSettings()
        path = output_file or _folder(settings) / f"{scenario}.yaml"
        source = _checked(scenario, about, path, force)
        found = _ask(settings, scenario, about, provider, show=not json_output)
        _write(path, _text(scenario, about, source, found.factors))
        if json_output:
            output.print_json({"scenario": scenario, **vars(found), "file": path})
        else:
            _explain(scenario, found, path, is_new=source is None)


def _folder(settings: CliSettings) -> Path:
    own = os.environ.get("LORELINE_SCENARIO_DIRECTORY")
    return Path(own) if own else settings.home / "scenarios"


def _checked(scenario: str, about: str, path: Path, force: bool) -> str | None:
    """The known scenario's file. Raises BadInput before any model is asked in vain."""
    if path.exists() and not force:
        raise BadInput(f"{path} is there already: give another --output, or --force to overwrite it")
    source = source_of(scenario)
    if source is None and not about.strip():
        raise BadInput(f'--about: must say what the items of the new scenario {scenario!r} are: --about "..."')
    return source


def _ask(settings: CliSettings, scenario: str, about: str, provider: str, show: bool) -> ElicitedFactors:
    processes = start_processes(settings, ["knowledge", "embedding"], show=show)
    with KnowledgeClient(processes.address("knowledge"), TIMEOUT_SECONDS) as knowledge:
        found = knowledge.elicit_factors(scenario, about, provider)
    if isinstance(found, Failure):
        if found.reason == "REFUSED":
            raise BadInput(f"--provider: {provider} cannot answer: {found.detail}")
        raise NotReady(f"{provider} gave no factors: {found.detail}")
    return found


def _text(scenario: str, about: str, source: str | None, factors: list[str]) -> str:
    if source is None:
        return new_scenario(scenario, " ".join(about.split()), factors)
    try:
        return with_factors(source, factors)
    except InvalidScenario as error:
        raise BadInput(f"scenario {scenario}: {error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--output: cannot write {path}: {error.strerror}") from error


def _explain(scenario: str, found: ElicitedFactors, path: Path, is_new: bool) -> None:
    rows = [(number, factor) for number, factor in enumerate(found.factors, start=1)]
    output.print_table(f"Factors of {scenario}, as {found.provider} ({found.model}) named them", ["", "factor"], rows)
    output.console.print(f"written to {path}", highlight=False, soft_wrap=True)
    if is_new:
        output.console.print("a first draft: its rating, item_fields and prompts are general, make them your own")
    output.console.print("next: edit the list, then let every process read the folder:")
    output.console.print(
        f"  export LORELINE_SCENARIO_DIRECTORY={path.absolute().parent}", highlight=False, soft_wrap=True
    )
    output.console.print("  loreline down && loreline knowledge build")
