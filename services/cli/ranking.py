"""`loreline recommend` and `loreline explain`: what a user should see, and why an item has its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.panel import Panel

from loreline.client import (
    Explanation,
    FeaturesClient,
    InvalidArgumentError,
    NotFoundError,
    RankingClient,
    Recommended,
)
from loreline.domain import Knowledge
from services.cli import output
from services.cli.knowledge.commands import provenance_rows
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings

BAR_WIDTH = 30
UserOption = Annotated[str, typer.Option("--user", "-u", help="The user's id. An unknown one is a new user.")]
ScenarioOption = Annotated[str, typer.Option("--scenario", "-s", help="The scenario (domain), as configured.")]
AtOption = Annotated[datetime | None, typer.Option(help="As of this moment (UTC), without later history.")]
VersionOption = Annotated[str, typer.Option("--model-version", help="A loaded version; else as the user is assigned.")]


def explain(
    user: UserOption,
    item: Annotated[str, typer.Option("--item", "-i", help="The item's id.")],
    scenario: ScenarioOption = "movies",
    at: AtOption = None,
    version: VersionOption = "",
    json_output: JsonOption = False,
) -> None:
    """Show why an item has its score for a user: the knowledge, its origin, the experts, and scores without it.

    Example: loreline explain --user 42 --item 50
    """
    with exit_codes():
        address = LocalProcesses(CliSettings()).address("ranking")
        with RankingClient(address, timeout_seconds=10) as client:
            explained = client.explain(
                user, scenario, item, request_time=at.replace(tzinfo=UTC) if at else None, model_version=version
            )
        if json_output:
            output.print_json(explained)
            return
        _show_scores(explained, user)
        _show_knowledge(f"the item: {explained.item.title}", explained.item_knowledge, "the item")
        _show_experts("the item", explained.item_experts)
        _show_knowledge(f"the user: {user}", explained.user_knowledge, "the user")
        _show_experts("the user", explained.user_experts)


def recommend(
    user: UserOption,
    count: Annotated[int, typer.Option("--count", "-k", min=1, max=1000, help="How many items to show.")] = 10,
    scenario: ScenarioOption = "movies",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="FIELD=VALUE,VALUE: a field of the items must have one of the values. Repeat."),
    ] = None,
    seen: Annotated[bool, typer.Option(help="Leave in what the user's history holds.")] = False,
    knowledge: Annotated[bool, typer.Option(help="Score with or without knowledge.")] = True,
    at: AtOption = None,
    version: VersionOption = "",
    json_output: JsonOption = False,
) -> None:
    """Find the items nearest to what a user liked last, and rank them.

    Example: loreline recommend --user 42 --count 10 --where genre=Drama,Comedy
    """
    with exit_codes():
        processes = LocalProcesses(CliSettings())
        with RankingClient(processes.address("ranking"), timeout_seconds=10) as client:
            found = client.recommend(
                user,
                scenario,
                count,
                filters=_filters(where or []),
                include_seen=seen,
                use_knowledge=knowledge,
                request_time=at.replace(tzinfo=UTC) if at else None,
                model_version=version,
            )
        if json_output:
            output.print_json(found)
            return
        with FeaturesClient(processes.address("features")) as features:
            _show_recommended(found, user, features)


def _filters(texts: Sequence[str]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        if not (field and equals and values):
            raise BadInput(f"--where: must be FIELD=VALUE,VALUE, is {text!r}")
        filters.setdefault(field.strip(), []).extend(value.strip() for value in values.split(","))
    return filters


def _show_recommended(found: Recommended, user: str, features: FeaturesClient) -> None:
    ranked = found.ranked
    near = "near to what the user liked last" if found.query == "HISTORY" else "popular and new ones"
    rows = [
        (place, item_id, title_of(features, item_id), float(score))
        for place, (item_id, score) in enumerate(zip(ranked.item_ids, ranked.scores, strict=True), start=1)
    ]
    title = f"For user {user}, model version {ranked.model_version}"
    output.print_table(title, ["place", "item", "title", "score"], rows)
    timings = ", ".join(f"{stage.replace('_', ' ')} {value:.2f} ms" for stage, value in ranked.timings_ms.items())
    output.console.print(f"{found.found} items found, {near}; {found.ranked_candidates} ranked; {timings}", style="dim")


def title_of(features: FeaturesClient, item_id: str) -> str:
    """The item's title; empty when the item is not stored."""
    try:
        return features.describe_item(item_id).item.title
    except (NotFoundError, InvalidArgumentError):
        return ""


def _show_scores(explained: Explanation, user: str) -> None:
    route = explained.user_route.lower().replace("_", " ")
    title = f"{explained.item.title} for user {user} ({route}), model version {explained.model_version}"
    scores = {
        "as ranked": explained.score,
        "without the item's knowledge": explained.score_without_item_knowledge,
        "without the user's knowledge": explained.score_without_user_knowledge,
        "without any knowledge": explained.score_without_knowledge,
    }
    ranked, *removed = [(name, score, f"{score - explained.score:+.4f}") for name, score in scores.items()]
    rows = [(*ranked[:2], ""), *removed]
    output.print_table(title, ["score", "value", "difference"], rows)


def _show_knowledge(about: str, knowledge: Knowledge | None, subject: str) -> None:
    if knowledge is None:
        output.console.print(f"no knowledge of {about}", style="yellow", highlight=False)
        return
    output.console.print(Panel(knowledge.text, title=f"knowledge of {about}", title_align="left"))
    output.print_table("Where it came from", ["what", "value"], provenance_rows(knowledge.provenance, subject))


def _show_experts(subject: str, weights: Mapping[str, float]) -> None:
    if weights:
        rows = [(name, weight, "█" * round(weight * BAR_WIDTH)) for name, weight in weights.items()]
        output.print_table(f"How the experts were mixed for {subject}", ["expert", "weight", ""], rows)
