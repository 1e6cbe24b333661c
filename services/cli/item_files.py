"""Reads and writes items as JSON lines: {"item_id", "scenario", "title", "attributes": {...}} a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loreline.domain import Item, check_item
from services.cli.json_lines import check_fields, check_scenario, lines_of, object_of
from services.cli.output import BadInput

FIELDS = [field.name for field in dataclasses.fields(Item)]
TEXTS = ["item_id", "scenario", "title"]


def read_items(path: Path) -> list[Item]:
    """The file's items. Raises BadInput that names line and field; blank lines are passed over."""
    items = [_item(place, line) for place, line in lines_of(path)]
    if not items:
        raise BadInput(f"{path}: must hold at least one item, one JSON object a line")
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items so that `read_items` reads the same ones."""
    rows = [json.dumps(dataclasses.asdict(item), ensure_ascii=False) for item in items]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _item(place: str, line: bytes) -> Item:
    document = object_of(place, line)
    check_fields(place, document, TEXTS, FIELDS)
    _check_attributes(place, document)
    item = Item(document["item_id"], document["scenario"], document["title"], document.get("attributes", {}))
    if violation := next(check_item(item, "item"), None):
        raise BadInput(f"{place}: {violation[0]}: {violation[1]}")
    check_scenario(place, item.scenario)
    return item


def _check_attributes(place: str, document: dict[str, Any]) -> None:
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
