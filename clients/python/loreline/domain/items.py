"""Items, users and groups of them as knowledge is asked about, and the limits that the contracts set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

AttributeValue = str | float | list[str] | None
Violation = tuple[str, str]

MAX_ID_BYTES = 128
MAX_TITLE_CHARACTERS = 512
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_NAME_BYTES = 64
MAX_TEXT_CHARACTERS = 8192
MAX_LIST_VALUES = 64
MAX_LIST_VALUE_CHARACTERS = 512


@dataclass(frozen=True)
class Item:
    """What is known of an item without any language model. Attribute values are text, a number, texts or None."""

    item_id: str
    scenario: str
    title: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True)
class HistoryEntry:
    """One interaction of a user: the item as it was known, and the rating in the scenario's unit, if any."""

    item: Item
    rating: float | None = None


@dataclass(frozen=True)
class UserHistory:
    """What a user did, oldest first, and the user's attributes by name."""

    user_id: str
    entries: list[HistoryEntry]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """A group of similar items or users, told by what stands in its middle.

    Entries of an item cluster are its central items, unrated; of a user cluster what its central users interacted with
    most, with their mean rating.
    """

    cluster_id: str
    kind: str  # "item" or "user"
    entries: list[HistoryEntry]


def check_id(name: str, value: str) -> Iterator[Violation]:
    """Yield what is wrong with an id: 1 to 128 bytes of UTF-8 without control characters."""
    if not 1 <= len(value.encode("utf-8", "surrogatepass")) <= MAX_ID_BYTES:
        yield name, f"must have 1 to {MAX_ID_BYTES} bytes of UTF-8"
    elif not value.isprintable():
        yield name, "must not hold control characters"


def check_item(item: Item, prefix: str = "item") -> Iterator[Violation]:
    """Yield what is wrong with an item, each with the field's path (limits of loreline.catalog.v1.Item)."""
    yield from check_id(f"{prefix}.item_id", item.item_id)
    if not item.scenario:
        yield f"{prefix}.scenario", "must name a configured scenario"
    if not 1 <= len(item.title.strip()) <= len(item.title) <= MAX_TITLE_CHARACTERS:
        yield f"{prefix}.title", f"must have 1 to {MAX_TITLE_CHARACTERS} characters and not be blank"
    yield from check_attributes(item.attributes, f"{prefix}.attributes")


def check_attributes(attributes: Mapping[str, AttributeValue], path: str) -> Iterator[Violation]:
    """Yield what is wrong with attributes, each with the field's path."""
    if len(attributes) > MAX_ATTRIBUTES:
        yield path, f"must have at most {MAX_ATTRIBUTES} entries"
    for name, value in attributes.items():
        yield from _check_attribute(f"{path}[{name[:MAX_ATTRIBUTE_NAME_BYTES]!r}]", name, value)


def _check_attribute(path: str, name: str, value: AttributeValue) -> Iterator[Violation]:
    if not 1 <= len(name.encode()) <= MAX_ATTRIBUTE_NAME_BYTES:
        yield path, f"its name must have 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes"
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        yield path, f"must have at most {MAX_TEXT_CHARACTERS} characters"
    if isinstance(value, float | int) and not math.isfinite(value):
        yield path, "must be a finite number, not NaN or infinity"
    if isinstance(value, list) and not _is_short_list(value):
        yield path, f"must have at most {MAX_LIST_VALUES} texts of at most {MAX_LIST_VALUE_CHARACTERS} characters"


def _is_short_list(values: list[str]) -> bool:
    return len(values) <= MAX_LIST_VALUES and all(len(value) <= MAX_LIST_VALUE_CHARACTERS for value in values)
