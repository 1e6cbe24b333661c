"""Reads and writes items as JSON lines: {"item_id", "scenario", "title", "attributes": {...}} a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from services.cli.output import BadInput
from services.scenarios import Item, UnknownScenario, load_scenario
from services.scenarios.items import check_item

FIELDS = {field.name for field in dataclasses.fields(Item)}


def read_items(path: Path) -> list[Item]:
    """The file's items. Raises BadInput that names line and field; blank lines are passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    items = [_item(f"{path}, line {number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not items:
        raise BadInput(f"{path}: must hold at least one item, one JSON object a line")
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items so that `read_items` reads the same ones."""
    rows = [json.dumps(dataclasses.asdict(item), ensure_ascii=False) for item in items]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _item(place: str, line: bytes) -> Item:
    document = _object(place, line)
    if unknown := document.keys() - FIELDS:
        raise BadInput(f"{place}: unknown field {sorted(unknown)[0]!r}; an item has {', '.join(sorted(FIELDS))}")
    if missing := {"item_id", "scenario", "title"} - document.keys():
        raise BadInput(f"{place}: {sorted(missing)[0]}: must be given")
    _check_types(place, document)
    item = Item(document["item_id"], document["scenario"], document["title"], document.get("attributes", {}))
    if violation := next(check_item(item, "item"), None):
        raise BadInput(f"{place}: {violation[0]}: {violation[1]}")
    _check_scenario(place, item.scenario)
    return item


def _object(place: str, line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{place}: must be UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: must be a JSON object: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{place}: must be a JSON object, is {type(document).__name__}")
    return document


def _check_types(place: str, document: dict[str, Any]) -> None:
    for name in ("item_id", "scenario", "title"):
        if not isinstance(document[name], str):
            raise BadInput(f"{place}: {name}: must be text, is {type(document[name]).__name__}")
    attributes = document.get("attributes", {})
    if not isinstance(attributes, dict):
        raise BadInput(f"{place}: attributes: must be an object")
    for name, value in attributes.items():
        if not _is_attribute(value):
            raise BadInput(f"{place}: attributes.{name}: must be text, a number, a list of texts or null")


def _is_attribute(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, str) for entry in value)
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _check_scenario(place: str, name: str) -> None:
    try:
        load_scenario(name)
    except UnknownScenario as error:
        raise BadInput(f"{place}: scenario: {error}") from error
