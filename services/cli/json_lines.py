"""What every file of JSON lines that the command reads has to meet. Errors name the place: file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.cli.output import BadInput
from services.scenarios import UnknownScenario, load_scenario


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the place and the bytes of each line that is not blank, one at a time. Raises BadInput."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


def object_of(place: str, line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises BadInput."""
    try:
        document = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{place}: must be UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: must be a JSON object: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{place}: must be a JSON object, is {type(document).__name__}")
    return document


def check_fields(place: str, document: dict[str, Any], texts: Sequence[str], known: Sequence[str]) -> None:
    """Raise BadInput for a field that is not known, and where one of the texts is missing or is no text."""
    if unknown := document.keys() - set(known):
        raise BadInput(f"{place}: unknown field {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    if missing := set(texts) - document.keys():
        raise BadInput(f"{place}: {sorted(missing)[0]}: must be given")
    for name in texts:
        if not isinstance(document[name], str):
            raise BadInput(f"{place}: {name}: must be text, is {type(document[name]).__name__}")


def check_scenario(place: str, name: str) -> None:
    """Raise BadInput for a scenario that is not configured."""
    try:
        load_scenario(name)
    except UnknownScenario as error:
        raise BadInput(f"{place}: scenario: {error}") from error
