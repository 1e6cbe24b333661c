"""`loreline interactions ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.cli.interaction_files import check_interactions, read_interactions
from services.cli.local_processes import LocalProcesses
from services.cli.output import JsonOption, exit_codes
from services.cli.progress import progress_bar
from services.cli.publishing import publishing
from services.cli.settings import CliSettings

interactions_app = typer.Typer(help="Publish what users did to Kafka.", no_args_is_help=True)


@interactions_app.command("publish")
def publish_interactions(
    file: Annotated[
        Path, typer.Argument(help='JSON lines: {"user_id", "item_id", "scenario"}, if you like "rating" and "time".')
    ],
    json_output: JsonOption = False,
) -> None:
    """Publish each line of FILE as an InteractionLogged event: it is in the user's history within a second.

    time is ISO 8601 (UTC where it does not say) or seconds since 1970; without one it is now. A line with a time has
    the same event id whenever it is published, so a FILE that is published twice counts once. A line may also hold
    event_id, and the attribution_id of the ranking that showed the item. A wrong line is named, and nothing is
    published then.
    """
    with exit_codes():
        settings, count = CliSettings(), check_interactions(file)
        servers, topic = LocalProcesses(settings).address("broker"), settings.interactions_topic
        with progress_bar(not json_output) as bar, publishing(servers, topic) as publisher:
            task = bar.add_task("published", total=count)
            for interaction in read_interactions(file):
                publisher.send(interaction.event())
                bar.advance(task)
        if json_output:
            output.print_json({"published": count, "topic": topic})
        else:
            output.console.print(f"published to the topic {topic!r}: {count}, all acknowledged")
