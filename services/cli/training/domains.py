"""`loreline domains ...`"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import output
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings
from services.model_registry import Manifest, ModelRegistry, NoSuchVersion
from services.model_registry.unictr_files import network_file, networks_of
from services.scenarios import load_scenario, scenario_names

domains_app = typer.Typer(
    help="Add, remove and list the domains (scenarios) that a Uni-CTR version has networks for.", no_args_is_help=True
)
DomainName = Annotated[str, typer.Argument(help="The domain's name, as of its scenario.")]
VersionOption = Annotated[str, typer.Option(help="The model version to begin with; it stays as it is.")]


@domains_app.command("add")
def add(name: DomainName, version: VersionOption, json_output: JsonOption = False) -> None:
    """Train a network for one more domain of the loaded dataset, with all else frozen, and register the next version.

    Only files of the new domain are made; the others' networks are copied byte for byte.
    """
    with exit_codes():
        from services.cli.training.datasets import domain_dataset

        settings = CliSettings()
        _manifest(settings, version)
        dataset = domain_dataset(settings)
        from services.cli.training.domain_runs import print_domain_report, with_domain

        print_domain_report(with_domain(settings, dataset, version, name, show=not json_output), json_output)


@domains_app.command("remove")
def remove(name: DomainName, version: VersionOption, json_output: JsonOption = False) -> None:
    """Register the next version without a domain's network: its requests then go to the general one."""
    with exit_codes():
        settings = CliSettings()
        _manifest(settings, version)
        from services.cli.training.domain_runs import without_domain

        made = without_domain(settings, version, name)
        if json_output:
            output.print_json({"version": made, "removed": name})
            return
        output.console.print(f"version {made} is version {version} without the network of {name}")
        output.console.print(f"next: `loreline models promote {made}`")


@domains_app.command("list")
def list_domains(version: VersionOption, json_output: JsonOption = False) -> None:
    """List a version's networks: of each domain, and the general one for all others."""
    with exit_codes():
        rows = _rows(_manifest(CliSettings(), version))
        if json_output:
            names = ("domain", "file", "auc", "scorer")
            output.print_json({"version": version, "domains": [dict(zip(names, row, strict=True)) for row in rows]})
            return
        output.print_table(f"Networks of version {version}", ["domain", "file", "AUC", "the scenario's scorer"], rows)


def _manifest(settings: CliSettings, version: str) -> Manifest:
    try:
        return ModelRegistry(settings.model_registry).manifest(version)
    except NoSuchVersion as error:
        raise BadInput(f"--version: {error}") from error


def _rows(manifest: Manifest) -> list[tuple[str, str, float | None, str]]:
    if manifest.kind != "unictr":
        raise BadInput(f"--version: must be of kind unictr, {manifest.version} is of kind {manifest.kind}")
    return [
        (name, network_file(name), manifest.metrics.get(f"auc {name}"), _scorer(name, manifest))
        for name in networks_of(manifest)
    ]


def _scorer(name: str, manifest: Manifest) -> str:
    if name not in manifest.scenarios:
        return "-"
    return load_scenario(name).scorer if name in scenario_names() else "no scenario of that name yet"
