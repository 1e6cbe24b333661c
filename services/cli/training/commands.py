"""`loreline data load` and `loreline train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.cli.output import JsonOption, exit_codes
from services.cli.settings import CliSettings

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
        from services.cli.training.datasets import dataset_facts, dataset_source, load_dataset, print_facts

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
            output.print_json({"dataset": name, **counts, **files, **dataset_facts(dataset)})
            return
        output.print_table(f"Loaded {name}", ["what", "count"], [(k.replace("_", " "), v) for k, v in counts.items()])
        print_facts(dataset)
        output.console.print("next: `loreline knowledge build`, then `loreline train`")


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
        from services.cli.training.configs import read_training_config
        from services.cli.training.datasets import domain_dataset, loaded_dataset
        from services.trainer.multi_domain.config import MultiDomainConfig

        settings, chosen, show = CliSettings(), read_training_config(config), not json_output
        if isinstance(chosen, MultiDomainConfig):
            domains = domain_dataset(settings)
            from services.cli.training.domain_runs import print_domain_report, train_domain_version

            print_domain_report(train_domain_version(settings, domains, chosen, show), json_output)
            return
        dataset = loaded_dataset(settings)
        from services.cli.training.runs import print_report, train_version

        report = train_version(settings, dataset, chosen, tensorboard, checkpoint_steps, show)
        if json_output:
            output.print_json(report)
            return
        print_report(report)
        promote = "rerank" if report.base_version else "promote"
        output.console.print(f"next: `loreline up`, then `loreline models {promote} {report.version}`")
