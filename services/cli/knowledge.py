"""`loreline knowledge ...`"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.panel import Panel

from loreline.client import FeaturesClient, NotFoundError
from services.cli import output
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings

knowledge_app = typer.Typer(help="Build knowledge in bulk, and look at what is kept.", no_args_is_help=True)


@knowledge_app.command("show")
def show(
    item: Annotated[str, typer.Argument(help="The item's id.")],
    json_output: JsonOption = False,
) -> None:
    """Show what is stored for one item: its attributes, the knowledge text, and where the text came from."""
    with exit_codes():
        with FeaturesClient(LocalProcesses(CliSettings()).address("features")) as features:
            try:
                description = features.describe_item(item)
            except NotFoundError as error:
                raise BadInput(f"no item {item!r} in the online store: publish it first, or check the id") from error
        if json_output:
            output.print_json(description)
            return
        attributes = [(name, _shown(value)) for name, value in description.item.attributes.items()]
        title = f"{description.item.title} (item {item}, scenario {description.item.scenario})"
        output.print_table(title, ["attribute", "value"], attributes)
        if description.knowledge is None:
            output.console.print("no knowledge yet: the item is ranked on its content", style="yellow")
            return
        output.console.print(Panel(description.knowledge.text, title="knowledge", title_align="left"))
        source = description.knowledge.provenance
        rows = [
            ("provider", source.provider),
            ("model", source.model),
            ("prompt version", str(source.prompt_version)),
            ("factors", ", ".join(source.factors)),
            ("tokens", f"{source.prompt_tokens} read, {source.completion_tokens} written"),
            ("finish reason", source.finish_reason or "not said"),
            ("created", source.created_time.isoformat()),
            ("key", source.key),
            ("fallback reason", source.fallback_reason or "none"),
            ("encoder", description.encoder),
            ("adapted for versions", ", ".join(description.model_versions) or "none"),
        ]
        output.print_table("Provenance", ["what", "value"], rows)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, list) else "unknown" if value is None else str(value)
