"""`loreline models ...`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import Progress

from loreline.client import EmbeddingClient, FeaturesClient
from services.cli import output
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, NotReady, exit_codes
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry, NoSuchVersion
from services.trainer import promotion

models_app = typer.Typer(help="List, promote and roll back model versions.", no_args_is_help=True)


@models_app.command("list")
def list_models(json_output: JsonOption = False) -> None:
    """List the registered versions with their test metrics; the active one is marked."""
    with exit_codes():
        registry = ModelRegistry(CliSettings().model_registry)
        active, manifests = registry.active(), registry.versions()
        if json_output:
            versions = [manifest.model_dump(mode="json") for manifest in manifests]
            output.print_json({"active": active, "previous": registry.previous(), "versions": versions})
            return
        names = sorted({name for manifest in manifests for name in manifest.metrics})
        rows = [
            ("*" if m.version == active else "", m.version, m.backbone, *[m.metrics.get(name) for name in names],
             f"{m.created_time:%Y-%m-%d %H:%M} UTC")
            for m in manifests
        ]  # fmt: skip
        output.print_table("Model versions (* active)", ["", "version", "backbone", *names, "created"], rows)


@models_app.command("promote")
def promote(version: Annotated[str, typer.Argument(help="The version to make active.")]) -> None:
    """Adapt every stored vector for a version, then make it the active one. Ranking follows within a second."""
    with exit_codes():
        adapted = promote_version(CliSettings(), version)
        output.console.print(f"version {version} is active; {adapted} stored vectors were adapted for it")


@models_app.command("rollback")
def rollback() -> None:
    """Bring back the version that was active before."""
    with exit_codes(), _promotion_errors():
        registry = ModelRegistry(CliSettings().model_registry)
        previous = registry.previous()
        if previous is None:
            raise BadInput("there is no earlier version to roll back to")
        adapted = promote_version(CliSettings(), previous)
        output.console.print(f"version {previous} is active again; {adapted} stored vectors were adapted for it")


def promote_version(settings: CliSettings, version: str) -> int:
    """Promote with a progress bar; returns how many vectors were adapted. Raises BadInput, NotReady, ClientError."""
    processes, registry = LocalProcesses(settings), ModelRegistry(settings.model_registry)
    with (
        _promotion_errors(),
        FeaturesClient(processes.address("features")) as features,
        EmbeddingClient(processes.address("embedding")) as embedding,
        Progress(console=output.console, transient=True) as bar,
    ):
        task = bar.add_task("adapting stored vectors", total=None)
        return promotion.promote(version, registry, features, embedding, lambda _, count: bar.advance(task, count))


@contextmanager
def _promotion_errors() -> Iterator[None]:
    try:
        yield
    except NoSuchVersion as error:
        raise BadInput(str(error)) from error
    except promotion.EncoderMismatch as error:
        raise NotReady(str(error)) from error
