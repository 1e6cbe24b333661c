"""`loreline knowledge build`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, get_args

import typer

from loreline.domain import did_you_mean
from services.cli import output
from services.cli.output import JsonOption, exit_codes
from services.cli.settings import CliSettings, Provider
from services.cli.startup import start_processes


class Mode(StrEnum):
    """How knowledge is asked for."""

    INDIVIDUAL = "individual"
    COLLECTIVE = "collective"


class Subjects(StrEnum):
    """Whose knowledge is built."""

    BOTH = "both"
    ITEM = "item"
    USER = "user"


def build(
    provider: Annotated[str, typer.Option(help=f"Who writes: {', '.join(get_args(Provider))}.")] = "catalogue",
    subject: Annotated[
        Subjects, typer.Option(help="Build anew for items, users or both; what is stored of the others stays.")
    ] = Subjects.BOTH,
    mode: Annotated[Mode, typer.Option(help="Ask for each item and user, or once for each group of similar ones.")] = (
        Mode.INDIVIDUAL
    ),
    clusters: Annotated[
        int, typer.Option(min=1, max=100_000, help="Groups of items, and again of users (collective mode).")
    ] = 100,
    cluster_weight: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the group in a vector; the rest is the content's.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the grouping (collective mode).")] = 1234,
    json_output: JsonOption = False,
) -> None:
    """Ask for knowledge of every loaded item and user, encode it, and load it into the feature store.

    In collective mode the number of questions is that of the groups, and what this saved is shown.
    What was answered before is not asked again, so an interrupted run goes on where it ended.
    """
    with exit_codes():
        if provider not in get_args(Provider):
            near = did_you_mean(provider, get_args(Provider))
            raise output.BadInput(f"--provider: must be one of {', '.join(get_args(Provider))}, is {provider!r}{near}")
        if mode is Mode.COLLECTIVE and subject is not Subjects.BOTH:
            raise output.BadInput("--subject: must be both in collective mode, since users are grouped by their items")
        from services.cli.training.datasets import loaded_dataset

        settings = CliSettings()
        dataset = loaded_dataset(settings)
        from services.cli.knowledge.bulk_build import build_knowledge
        from services.trainer.knowledge.collective import KnowledgeConfig

        config = KnowledgeConfig(mode=mode.value, clusters=clusters, cluster_weight=cluster_weight, seed=seed)
        start_processes(settings, ["knowledge", "embedding"], show=not json_output)
        done = build_knowledge(settings, dataset, provider, subject.value, config)
        if json_output:
            output.print_json({"provider": provider, "mode": config.mode, **done})
        else:
            output.console.print(
                f"knowledge of {done['items']} items and {done['users']} users is in the feature store"
            )
            if config.mode == "collective":
                output.console.print(
                    f"asked {done['llm_calls']} questions, one for each group: {done['llm_calls_saved']} fewer than "
                    "one for each item and user"
                )
            output.console.print("next: `loreline train`")
