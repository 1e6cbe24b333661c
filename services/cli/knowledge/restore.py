"""`loreline knowledge restore`"""

from __future__ import annotations

import typer

from loreline.client import KnowledgeClient
from services.cli import output
from services.cli.dead_letters.views import readable
from services.cli.knowledge.restoring import Restored, restore_knowledge
from services.cli.local_processes import LocalProcesses
from services.cli.output import JsonOption, exit_codes
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings

SHOWN_UNFIT = 20
TIMEOUT_SECONDS = 60.0
NEXT = """\
What is stored in the feature store serves as before, and needs nothing.
Where the feature store was lost too, have the items topic read from its beginning: start the updaters with a new
LORELINE_UPDATER_CONSUMER_GROUP. Each answer is then taken from the store, and no language model is asked for it."""


def restore(json_output: JsonOption = False) -> None:
    """Bring a lost store of knowledge back from the knowledge topic, without asking a language model.

    The newest answer of every item and user is sent to the knowledge service; of subjects that are gone there is none.
    Answers that are kept already stay as they are, so it can be broken off and run again at any time.
    """
    with exit_codes():
        settings = CliSettings()
        processes = LocalProcesses(settings)
        with (
            KnowledgeClient(processes.address("knowledge"), TIMEOUT_SECONDS) as knowledge,
            progress_bar(not json_output) as bar,
        ):
            task, total = bar.add_task("answers brought back", total=0), 0

            def found(more: int) -> None:
                nonlocal total
                total += more
                bar.update(task, total=total)

            done = restore_knowledge(
                processes.address("broker"),
                settings.knowledge_topic,
                knowledge,
                found,
                lambda count: bar.advance(task, count),
            )
        if json_output:
            output.print_json(done)
        else:
            _report(done, settings.knowledge_topic)
        if done.unfit:
            raise typer.Exit(1)


def _report(done: Restored, topic: str) -> None:
    there = done.answers - done.new
    output.console.print(
        f"{done.answers:,} answers of the topic {topic!r} are kept: {done.new:,} came back, {there:,} were there",
        highlight=False,
    )
    if done.unfit:
        rows = [(one.at, readable(one.why)) for one in done.unfit[:SHOWN_UNFIT]]
        output.print_table(f"{len(done.unfit):,} records were passed over", ["at", "why"], rows)
    if done.new:
        output.console.print(NEXT, highlight=False)
