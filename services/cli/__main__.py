"""The `loreline` command. Every command is a few lines over a function that another file holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from loreline.client import FeaturesClient, RankingClient
from loreline.client.catalog import item_deleted, item_upserted
from loreline.domain import did_you_mean
from services.cli import output
from services.cli.dead_letters.commands import dlq_app
from services.cli.evaluation.command import evaluate
from services.cli.interactions import interactions_app
from services.cli.item_files import read_items
from services.cli.knowledge.build import build
from services.cli.knowledge.commands import knowledge_app
from services.cli.knowledge.factors import factors_app
from services.cli.knowledge.rebuild import rebuild
from services.cli.knowledge.restore import restore
from services.cli.local_processes import NAMES, LocalProcesses
from services.cli.models.commands import models_app
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.publishing import publish
from services.cli.ranking import explain, recommend, title_of
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.cli.topics import topics_app
from services.cli.training.commands import data_app, train
from services.cli.training.domains import domains_app

app = typer.Typer(
    help="Open-world knowledge for recommenders, asked of a language model off the request path.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Start with `loreline demo`. Files are kept in ./.loreline, or in the folder LORELINE_CLI_HOME names.",
)
items_app = typer.Typer(help="Publish item events to Kafka.", no_args_is_help=True)
app.add_typer(items_app, name="items")
app.add_typer(factors_app, name="factors")
app.add_typer(knowledge_app, name="knowledge")
app.add_typer(models_app, name="models")
app.add_typer(domains_app, name="domains")
app.add_typer(interactions_app, name="interactions")
app.add_typer(data_app, name="data")
app.add_typer(dlq_app, name="dlq")
app.add_typer(topics_app, name="topics")
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("recommend")(recommend)
app.command("explain")(explain)
knowledge_app.command("build")(build)
knowledge_app.command("rebuild")(rebuild)
knowledge_app.command("restore")(restore)

ItemIds = Annotated[list[str], typer.Argument(help="Ids of the items.")]
RANK_TIMEOUT_SECONDS = 60  # a language model may be what scores
ScenarioOption = Annotated[str, typer.Option("--scenario", "-s", help="The scenario (domain), as configured.")]


@app.command("up")
def up(
    names: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(NAMES)}. All when left out.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Start the local processes in the background and wait until they are ready.

    A process whose own port is taken gets a free one; `loreline status` shows where each listens. Running it again
    starts only what does not run.
    """
    with exit_codes():
        unknown = sorted(set(names or []) - set(NAMES))
        if unknown:
            near = did_you_mean(unknown[0], NAMES)
            raise BadInput(f"there is no process {unknown[0]!r}{near}: must be one of {', '.join(NAMES)}")
        settings = CliSettings()
        start_processes(settings, names or list(NAMES), show=not json_output)
        _show_status(LocalProcesses(settings), json_output)


@app.command("status")
def status(json_output: JsonOption = False) -> None:
    """Show each process: whether it answers (live), and whether all that it depends on answers too (ready)."""
    with exit_codes():
        _show_status(LocalProcesses(CliSettings()), json_output)


@app.command("down")
def down(json_output: JsonOption = False) -> None:
    """Stop the local processes; running calls finish first. Stores and models stay, the broker's log does not."""
    with exit_codes():
        stopped = list(LocalProcesses(CliSettings()).stop())
        if json_output:
            output.print_json({"stopped": stopped})
        else:
            output.console.print(f"stopped: {', '.join(stopped) or 'nothing was running'}")


@items_app.command("publish")
def publish_items(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"item_id", "scenario", "title", "attributes": {...}}.')],
    json_output: JsonOption = False,
) -> None:
    """Publish each line of FILE as an ItemUpserted event: rankable within a second, enriched when the model answers."""
    with exit_codes():
        items = read_items(file)
        settings = CliSettings()
        bootstrap_servers = LocalProcesses(settings).address("broker")
        publish(bootstrap_servers, settings.items_topic, [item_upserted(item) for item in items])
        _say_published(len(items), settings, json_output)


@items_app.command("delete")
def delete_items(item_ids: ItemIds, scenario: ScenarioOption = "movies", json_output: JsonOption = False) -> None:
    """Publish an ItemDeleted event for each item: it is no longer ranked."""
    with exit_codes():
        settings = CliSettings()
        events = [item_deleted(item_id, scenario) for item_id in item_ids]
        publish(LocalProcesses(settings).address("broker"), settings.items_topic, events)
        _say_published(len(events), settings, json_output)


@app.command("rank")
def rank(
    user: Annotated[str, typer.Option("--user", "-u", help="The user's id. An unknown one is ranked as a new user.")],
    candidates: Annotated[str, typer.Option("--candidates", "-c", help="Item ids, separated by commas, or @FILE.")],
    scenario: ScenarioOption = "movies",
    top: Annotated[int, typer.Option("--top", "-k", min=0, help="Show only the best so many; 0 shows all.")] = 10,
    knowledge: Annotated[bool, typer.Option(help="Score with or without knowledge.")] = True,
    at: Annotated[datetime | None, typer.Option(help="Rank as of this moment (UTC), without later history.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Rank candidates for a user over gRPC.

    Example: loreline rank --user 42 --candidates 1,50,100,181
    """
    with exit_codes():
        processes = LocalProcesses(CliSettings())
        moment = at.replace(tzinfo=UTC) if at else None
        with RankingClient(processes.address("ranking"), timeout_seconds=RANK_TIMEOUT_SECONDS) as client:
            ranked = client.rank(
                user, scenario, _candidates(candidates), use_knowledge=knowledge, top_k=top, request_time=moment
            )
        if json_output:
            output.print_json(ranked)
            return
        with FeaturesClient(processes.address("features")) as features:
            titles = [title_of(features, item_id) for item_id in ranked.item_ids]
        rows = [
            (place, item_id, title, float(score), "yes" if used else "no")
            for place, (item_id, title, score, used) in enumerate(
                zip(ranked.item_ids, titles, ranked.scores, ranked.knowledge_used, strict=True), start=1
            )
        ]
        title = f"User {user} ({ranked.user_route.lower().replace('_', ' ')}), model version {ranked.model_version}"
        output.print_table(title, ["place", "item", "title", "score", "knowledge"], rows)
        timings = ", ".join(f"{stage.replace('_', ' ')} {value:.2f} ms" for stage, value in ranked.timings_ms.items())
        output.console.print(f"{timings}; attribution {ranked.attribution_id}", style="dim")
        if ranked.scenario_route == "GENERAL":
            told = f"version {ranked.model_version} has no network for {scenario}: its general one ranked"
            output.console.print(told, style="yellow", soft_wrap=True)
        if ranked.unknown_item_ids:
            output.console.print(f"not in the catalogue: {', '.join(ranked.unknown_item_ids)}", style="yellow")


@app.command("demo")
def demo(
    items: Annotated[
        int | None, typer.Option(min=1, max=200, help="How many unseen items to stream in: 40, of a quick demo 4.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take 300 films and 150 viewers: a minute, and metrics that are noise.")
    ] = False,
) -> None:
    """Run the whole line on MovieLens-100K: load, train, promote, stream new items in, rank them.

    Takes some minutes on two cores, leaves everything running, and ends with commands to try.
    """
    with exit_codes():
        settings = CliSettings()
        from services.cli.demo import run_demo

        run_demo(settings, quick, items)


def _show_status(processes: LocalProcesses, json_output: bool) -> None:
    statuses = [processes.status(name) for name in NAMES]
    if json_output:
        output.print_json(statuses)
        return
    rows = [(s.name, s.address, s.pid or "-", _yes(s.live), _yes(s.ready)) for s in statuses]
    output.print_table("Processes", ["process", "address", "pid", "live", "ready"], rows)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _say_published(count: int, settings: CliSettings, json_output: bool) -> None:
    if json_output:
        output.print_json({"published": count, "topic": settings.items_topic})
    else:
        output.console.print(f"published to the topic {settings.items_topic!r}: {count}, all acknowledged")


def _candidates(text: str) -> list[str]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--candidates: cannot read {text[1:]}: {error}") from error
    ids = [part.strip() for part in text.replace("\n", ",").split(",")]
    if ids and not ids[-1]:
        ids.pop()
    if not ids:
        raise BadInput("--candidates: must name at least one item")
    return ids


def main() -> None:
    """Entry point of the `loreline` command."""
    app()


if __name__ == "__main__":
    main()
