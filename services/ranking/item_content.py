"""What items say: their field values by name, of stored rows and of content that came with a request."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loreline.domain import AttributeValue, Item
from services.ctr.uni_ctr.prompts import PromptItem
from services.ranking.item_rows import ABSENT, ItemRows
from services.scenarios import UnknownScenario, load_scenario, scenario_names


def content_fields(item: Item) -> dict[str, str]:
    """Values of the scenario's item fields by name; of a scenario that is not configured all attributes as text."""
    try:
        scenario = load_scenario(item.scenario)
    except UnknownScenario:
        return {name: _text(value) for name, value in item.attributes.items()}
    return dict(zip(scenario.field_names, scenario.field_values(item), strict=True))


def prompt_item(item: Item) -> PromptItem:
    """The item as a prompt says it."""
    return PromptItem(item.item_id, item.title, content_fields(item))


def prompt_items(item_ids: Sequence[str], rows: ItemRows) -> list[PromptItem]:
    """Stored items as prompts say them, each by the fields of its own scenario."""
    values = rows.interner.values
    return [
        PromptItem(item_id, str(title), dict(zip(_fields(values[scenario]), [values[c] for c in codes], strict=False)))
        for item_id, title, scenario, codes in zip(
            item_ids, rows.titles, rows.scenario.tolist(), rows.field_codes.tolist(), strict=True
        )
    ]


def most_fields() -> int:
    """How many fields the scenario with the most of them has."""
    return max(len(_fields(name)) for name in scenario_names())


def liked_places(ratings: Sequence[float], rows: ItemRows, most: int) -> npt.NDArray[np.intp]:
    """Where, in a history with its items' rows, the newest `most` stand that are stored and were liked.

    The measure is that of each item's own scenario; an item that was not rated, 0, was liked.
    """
    scenarios, names = rows.scenario.tolist(), rows.interner.values
    liked = [
        place
        for place, (code, rating) in enumerate(zip(scenarios, ratings, strict=True))
        if code != ABSENT and (not rating or rating > _positive_above(names[code]))
    ]
    return np.array(liked[max(0, len(liked) - most) :], dtype=np.intp)


def _fields(scenario: str) -> tuple[str, ...]:
    """Names of the item fields; none of a scenario whose file is gone."""
    try:
        return tuple(load_scenario(scenario).field_names)
    except UnknownScenario:
        return ()


@functools.cache
def _positive_above(scenario: str) -> float:
    try:
        return load_scenario(scenario).positive_above
    except UnknownScenario:
        return 0.0


def _text(value: AttributeValue) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"
