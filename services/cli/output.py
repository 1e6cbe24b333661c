"""How commands speak: tables for people, one JSON document for programs, and errors with exit codes.

Exit code 2: the input must be changed. Exit code 1: something that was needed is not there. 0: done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loreline.client import ClientError, InvalidArgumentError, NotFoundError, ServiceUnavailableError
from loreline.domain import did_you_mean
from services.runtime.process_settings import UNKNOWN

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
PIPED_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120  # a file has no width of its own
# no markup: titles, attributes and names are strangers' text, and `[/i]` in one is no mistake
console = Console(width=PIPED_WIDTH, markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)


class BadInput(Exception):
    """The input must be changed; the message says what was expected."""


class NotReady(Exception):
    """Something that is needed is not there; the message says what to do."""


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are right-aligned by their first row."""
    table = Table()
    first = rows[0] if rows else [""] * len(columns)
    for column, value in zip(columns, first, strict=True):
        table.add_column(column, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(_cell(value)) for value in row])
    if title:
        console.print(title, style="bold", highlight=False)
    console.print(table)


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the command with a plain message and the right exit code when something inside fails."""
    try:
        yield
    except (BadInput, InvalidArgumentError, NotFoundError) as error:
        _end(error.message if isinstance(error, ClientError) else str(error), 2)
    except ValidationError as error:
        _end("\n".join(_setting_fault(fault) for fault in error.errors()), 2)
    except OSError as error:
        if error.filename is None:  # no file's fault
            raise
        _end(f"{error.filename}: {error.strerror}", 2)
    except ServiceUnavailableError as error:
        _end(f"{error.message}\nIs everything up? `loreline status` shows it, `loreline up` starts it.", 1)
    except (ClientError, NotReady) as error:
        _end(error.message if isinstance(error, ClientError) else str(error), 1)


def _end(message: str, code: int) -> None:
    errors.print(Text("error: ", style="bold red").append(message, style="not bold default"), soft_wrap=True)
    raise typer.Exit(code)


def _setting_fault(fault: ErrorDetails) -> str:
    name = "_".join(str(part) for part in fault["loc"]).upper()
    if fault["type"] == UNKNOWN:
        return f"LORELINE_CLI_{name}: {fault['msg']}"
    known = re.findall(r"'([^']*)'", fault["ctx"]["expected"]) if fault["type"] == "literal_error" else []
    near = did_you_mean(str(fault["input"]), known)
    return f"LORELINE_CLI_{name}: {fault['msg'].removeprefix('Value error, ')}, is {str(fault['input'])!r}{near}"


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, Path) else value
