"""`loreline data load`, `loreline knowledge build` and `loreline train`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.cli.output import JsonOption, exit_codes
from services.cli.settings import CliSettings
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


data_app = typer.Typer(help="Load a dataset into the feature store.", no_args_is_help=True)


@data_app.command("load")
def load(
    name: Annotated[str, typer.Argument(help="Name of the dataset; a wrong one lists them.")] = "movielens-100k",
    path: Annotated[
        list[Path] | None, typer.Option(help="Folder or file of a dataset that is not fetched; may be repeated.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: an option of the dataset; may be repeated."),
    ] = None,
    hold_out: Annotated[
        int | None,
        typer.Option(min=0, help="Keep so many of the newest items out, to stream in later: 40; of multi-domain none."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Load ratings, items and users into Feast's offline store, and materialise the online store.

    Replaces all features that were stored before. The items held out are written to new_items.jsonl.
    """
    with exit_codes():
        from services.cli.domain_tables import domain_facts, print_domains
        from services.cli.training_steps import dataset_source, load_dataset

        settings = CliSettings()
        dataset, held_out = load_dataset(settings, name, dataset_source(path or [], option or []), hold_out)
        counts = {
            "items": len(dataset.items),
            "users": len(dataset.users),
            "interactions": len(dataset.interactions),
            "held_out_items": len(held_out),
        }
        if json_output:
            files = {"new_items_file": str(settings.new_items_file)}
            output.print_json({"dataset": name, **counts, **files, **domain_facts(dataset)})
            return
        output.print_table(f"Loaded {name}", ["what", "count"], [(k.replace("_", " "), v) for k, v in counts.items()])
        print_domains(dataset)
        output.console.print("next: `loreline knowledge build`, then `loreline train`")


def build(
    provider: Annotated[str, typer.Option(help="Who writes: catalogue, embedded, tgi, openai.")] = "catalogue",
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
        from services.cli.training_steps import build_knowledge, loaded_dataset
        from services.trainer.collective import KnowledgeConfig

        if mode is Mode.COLLECTIVE and subject is not Subjects.BOTH:
            raise output.BadInput("--subject: must be both in collective mode, since users are grouped by their items")
        settings = CliSettings()
        config = KnowledgeConfig(mode=mode.value, clusters=clusters, cluster_weight=cluster_weight, seed=seed)
        start_processes(settings, ["knowledge", "embedding"], show=not json_output)
        done = build_knowledge(settings, loaded_dataset(settings), provider, subject.value, config)
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


def train(
    config: Annotated[str, typer.Option(help="Name of a shipped training config, or a YAML file.")] = "din",
    tensorboard: Annotated[Path | None, typer.Option(help="Folder to write metrics into, for TensorBoard.")] = None,
    checkpoint_steps: Annotated[
        int, typer.Option(min=0, help="Write a checkpoint after so many steps too, not only after each epoch.")
    ] = 0,
    json_output: JsonOption = False,
) -> None:
    """Train the backbone without and with knowledge, show both, and register the second as the next version.

    A config of several domains, unictr or unictr-student, trains one network for all that the loaded dataset has. A
    config of a re-ranker, such as prm, trains one that is bound to the active version, for `loreline models rerank`.
    A run that was broken off goes on when the same command is given again. Nothing is served by the new version until
    `loreline models promote VERSION`.
    """
    with exit_codes():
        from services.cli.domain_steps import print_domain_report, train_domain_version
        from services.cli.training_steps import loaded_dataset, print_report, read_training_config, train_version
        from services.trainer.multi_domain.config import MultiDomainConfig

        settings = CliSettings()
        chosen = read_training_config(config)
        if isinstance(chosen, MultiDomainConfig):
            print_domain_report(train_domain_version(settings, chosen, show=not json_output), json_output)
            return
        report = train_version(
            settings, loaded_dataset(settings), chosen, tensorboard, checkpoint_steps, show=not json_output
        )
        if json_output:
            output.print_json(report)
            return
        print_report(report)
        promote = "rerank" if report.base_version else "promote"
        output.console.print(f"next: `loreline up`, then `loreline models {promote} {report.version}`")
