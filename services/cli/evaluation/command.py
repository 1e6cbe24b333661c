"""`loreline evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.cli.output import JsonOption, exit_codes
from services.cli.settings import CliSettings


def evaluate(
    config: Annotated[
        list[str] | None, typer.Option(help="Name of a shipped training config, or a YAML file; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="How many seeds, from the config's own on.")] = 3,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE: change a field of every config; may be repeated.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE,VALUE...: compare each value of a config's field; several are combined."),
    ] = None,
    out: Annotated[Path, typer.Option("--output", help="Folder of the results and of the finished trials.")] = Path(
        "evaluation"
    ),
    json_output: JsonOption = False,
) -> None:
    """Compare configs with knowledge off and on: a table, evaluation.json, and a plot as PNG and SVG.

    Every finished trial is kept in the output folder and not trained again, so a run that was broken off goes on.

    Configs of several domains, such as unictr, mmoe or single-dcn, are compared by domain: AUC, LogLoss, RelaImpr.

    Example: loreline evaluate --config din --config dcnv2 --set protocol=by-user --vary dedicated_experts=2,4,6
    """
    with exit_codes():
        from services.cli.training.configs import domain_configs, one_domain_configs, wanted_configs
        from services.cli.training.datasets import domain_dataset, loaded_dataset

        settings, chosen = CliSettings(), wanted_configs(config or ["din"], change or [], vary or [])
        if of_domains := domain_configs(chosen):
            domains = domain_dataset(settings)
            from services.cli.evaluation.domain_comparisons import evaluate_domains

            evaluate_domains(domains, of_domains, seeds, out, json_output)
            return
        dataset = loaded_dataset(settings)
        from services.cli.evaluation.comparisons import compare, print_comparisons, write_results

        comparisons = compare(settings, dataset, one_domain_configs(chosen), seeds, out, not json_output)
        files = write_results(comparisons, out)
        if json_output:
            output.print_json(comparisons)
            return
        print_comparisons(comparisons)
        output.console.print(f"written: {', '.join(str(file) for file in files)}")
