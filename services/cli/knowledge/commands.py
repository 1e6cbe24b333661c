"""`loreline knowledge ...`"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.panel import Panel

from loreline.client import FeaturesClient, KnowledgeClient, NotFoundError
from loreline.domain import Provenance
from services.cli import output
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings

SHOWN_REFUSALS = 20
FILE_HELP = "A .json, .jsonl or .parquet file."
knowledge_app = typer.Typer(
    help="Build knowledge in bulk, bring it from elsewhere, and look at what is kept.", no_args_is_help=True
)


class Subject(StrEnum):
    """What knowledge is about."""

    ITEM = "item"
    USER = "user"


class Reason(StrEnum):
    """Why a text is kept from serving."""

    LOW_AGREEMENT = "LOW_AGREEMENT"
    CONTRADICTION = "CONTRADICTION"
    PROMPT_ECHO = "PROMPT_ECHO"


SubjectOption = Annotated[Subject, typer.Option("--subject", help="What the texts are about.")]


@knowledge_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help=f"{FILE_HELP[:-1]}, or the folder that a backfill wrote.")],
    subject: SubjectOption,
    model: Annotated[str, typer.Option(help="The model that wrote the texts, where the file does not say.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Load knowledge texts that were written elsewhere, encode them, and put them into the feature store.

    JSON: {id: {"prompt", "ans"}}. JSON lines and Parquet: id, text (or ans), and if you like prompt, model, provider.
    With columns encoder and vector, as `python -m services.embedding.backfill` writes them, nothing is encoded again.
    Rows with unknown ids and texts that fail the checks are listed; knowledge of subjects not in FILE stays.
    """
    with exit_codes():
        from services.cli.knowledge.transfer import import_texts

        done = import_texts(CliSettings(), file, subject.value, model, show=not json_output)
        if json_output:
            output.print_json(done)
            return
        if done.refused:
            rows = [(refused.row, refused.subject_id, refused.why) for refused in done.refused[:SHOWN_REFUSALS]]
            output.print_table(f"{len(done.refused)} rows were not taken", ["row", "id", "why"], rows)
        if len(done.refused) > SHOWN_REFUSALS:
            output.console.print(f"{len(done.refused) - SHOWN_REFUSALS} more: run with --json to see all of them")
        output.console.print(f"{done.loaded} texts were loaded; {done.stored} {subject.value}s have knowledge now")
        output.console.print("next: `loreline train`")


@knowledge_app.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(help=FILE_HELP)],
    subject: SubjectOption,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Write the knowledge texts of the feature store to FILE, with the model that wrote each.

    `loreline knowledge import` reads the same texts back, whatever the layout.
    """
    with exit_codes():
        from services.cli.knowledge.transfer import export_texts

        count = export_texts(CliSettings(), file, subject.value, force)
        if json_output:
            output.print_json({"texts": count, "file": file})
        else:
            output.console.print(f"{count} texts were written to {file}", highlight=False, soft_wrap=True)


@knowledge_app.command("suspects")
def suspects(
    scenario: Annotated[str, typer.Option("--scenario", "-s", help="Only those of a scenario.")] = "",
    reason: Annotated[Reason | None, typer.Option(help="Only those kept back for this reason.")] = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Most to list.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """List texts that a language model wrote and that are never served, newest first, with the reason.

    --json also prints where each came from.
    """
    with exit_codes():
        with KnowledgeClient(LocalProcesses(CliSettings()).address("knowledge")) as knowledge:
            found = list(knowledge.suspects(scenario, reason.value if reason else "", most))
        if json_output:
            output.print_json(found)
        elif not found:
            output.console.print("no suspects are kept")
        else:
            rows = [(f"{s.subject_kind} {s.subject_id}", s.reason, s.detail, s.knowledge.text) for s in found]
            output.print_table("Suspects, newest first", ["about", "reason", "detail", "text"], rows)


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
            output.print_json({name: value for name, value in vars(description).items() if name != "vector"})
            return
        attributes = [(name, _shown(value)) for name, value in description.item.attributes.items()]
        title = f"{description.item.title} (item {item}, scenario {description.item.scenario})"
        output.print_table(title, ["attribute", "value"], attributes)
        if description.knowledge is None:
            output.console.print("no knowledge yet: the item is ranked on its content", style="yellow")
            return
        output.console.print(Panel(description.knowledge.text, title="knowledge", title_align="left"))
        rows = [
            *provenance_rows(description.knowledge.provenance, "the item"),
            ("encoder", description.encoder),
            ("adapted for versions", ", ".join(description.model_versions) or "none"),
        ]
        output.print_table("Provenance", ["what", "value"], rows)


def provenance_rows(source: Provenance, subject: str) -> list[tuple[str, str]]:
    """What to show of where a text came from; `subject` is what was asked about, if not a cluster."""
    return [
        ("provider", source.provider),
        ("model", source.model),
        ("prompt version", str(source.prompt_version)),
        ("factors", ", ".join(source.factors)),
        ("tokens", f"{source.prompt_tokens} read, {source.completion_tokens} written"),
        ("finish reason", source.finish_reason or "not said"),
        ("created", source.created_time.isoformat()),
        ("key", source.key),
        ("agreement of samples", "one sample" if source.agreement is None else f"{source.agreement:.2f}"),
        ("asked for", f"{source.cluster} (weight {source.cluster_weight:g})" if source.cluster else subject),
        ("fallback reason", source.fallback_reason or "none"),
    ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, list) else "unknown" if value is None else str(value)
