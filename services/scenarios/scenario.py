"""Loads a scenario's YAML and checks it. To add a scenario, add a YAML here or in LORELINE_SCENARIO_DIRECTORY.

LORELINE_SCENARIO_DIRECTORY is an environment variable that names a folder of one's own scenario files; a file there
wins over a shipped one of the same name. Every process that speaks of the scenario must be given it.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loreline.domain import AttributeValue, Item

SCORERS = ("kar", "unictr", "unictr-student")
FACT_ROLES = ("year", "director", "author", "artist", "brand", "developer")


class UnknownScenario(Exception):
    """No YAML file has the scenario's name; the message lists those there are."""


class InvalidScenario(Exception):
    """A scenario's YAML misses a field or has a wrong value; the message names file and field."""


@dataclass(frozen=True)
class PromptTemplate:
    """One versioned prompt as Jinja2 source, in two parts: constant instructions first, so that servers can cache.

    `opening` is how the answer begins: a model that can continue it does, and it stays part of the text.
    """

    version: int
    system: str
    user: str
    opening: str = ""


@dataclass(frozen=True)
class ItemField:
    """A categorical model feature made of one item attribute. `transform` is a key of TRANSFORMS."""

    name: str
    attribute: str
    transform: str


@dataclass(frozen=True)
class Scenario:
    """One scenario. `positive_above`: a rating above it is a positive label (rating unit of the scenario).

    The grounded prompts are for models too small to be asked what they know: they reason on given facts alone.
    The cluster prompts are None in a scenario that is not made for collective knowledge.
    `facts` says which attribute holds what a text must not deny: a role of FACT_ROLES and the attribute's name.
    `minimum_agreement` is what samples of one prompt must reach, 0 to 1; None leaves it to the process.
    `scorer` is the kind of model version that ranks the scenario, one of SCORERS.
    """

    name: str
    description: str
    positive_above: float
    minimum_rating: float
    maximum_rating: float
    item_fields: tuple[ItemField, ...]
    factors: tuple[str, ...]
    item_prompt: PromptTemplate
    user_prompt: PromptTemplate
    grounded_item_prompt: PromptTemplate
    grounded_user_prompt: PromptTemplate
    item_cluster_prompt: PromptTemplate | None = None
    user_cluster_prompt: PromptTemplate | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    minimum_agreement: float | None = None
    scorer: str = SCORERS[0]

    def field_values(self, item: Item) -> list[str]:
        """The item's categorical feature values, one for each of `item_fields`; empty text where unknown."""
        return [TRANSFORMS[made.transform](item.attributes.get(made.attribute)) for made in self.item_fields]

    @property
    def field_names(self) -> list[str]:
        """The names of `item_fields`, in their order."""
        return [made.name for made in self.item_fields]


def _text(value: AttributeValue) -> str:
    return "" if value is None else str(value[0] if isinstance(value, list) and value else value or "")


def _decade(value: AttributeValue) -> str:
    try:
        return str(int(float(_text(value))) // 10 * 10)
    except (ValueError, OverflowError):
        return ""


def _band(value: AttributeValue) -> str:
    try:
        exponent = math.floor(math.log2(float(_text(value))))
        return f"{2.0**exponent:g}-{2.0 ** (exponent + 1):g}"
    except (ValueError, OverflowError):  # not a number, zero or less, infinite
        return ""


TRANSFORMS: dict[str, Callable[[AttributeValue], str]] = {
    "text": _text,
    "first": _text,
    "decade": _decade,
    "band": _band,
}


def scenario_directories() -> list[Path]:
    """Folders searched for scenarios: LORELINE_SCENARIO_DIRECTORY, if set, before the ones shipped."""
    own = os.environ.get("LORELINE_SCENARIO_DIRECTORY")
    return [*([Path(own)] if own else []), Path(__file__).parent]


def scenario_names() -> list[str]:
    """Names of all configured scenarios, sorted."""
    return sorted({path.stem for folder in scenario_directories() for path in folder.glob("*.yaml")})


@functools.cache
def load_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises UnknownScenario or InvalidScenario. Cached for the life of the process."""
    paths = [folder / f"{name}.yaml" for folder in scenario_directories()] if name in scenario_names() else []
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise UnknownScenario(f"must be one of: {', '.join(scenario_names())}")
    try:
        return _parse(yaml.safe_load(found.read_text(encoding="utf-8")), name)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise InvalidScenario(f"{found}: {type(error).__name__}: {error}") from error


def _parse(document: dict[str, Any], name: str) -> Scenario:
    if document["name"] != name:
        raise ValueError(f"name: must equal the file's name, {name!r}")
    minimum, above, maximum = _ratings(document["rating"])
    prompts = {name: PromptTemplate(**template) for name, template in document["prompts"].items()}
    return Scenario(
        name=name,
        description=document["description"],
        positive_above=above,
        minimum_rating=minimum,
        maximum_rating=maximum,
        item_fields=_item_fields(document["item_fields"]),
        factors=_factors(document["factors"]),
        item_prompt=prompts["item"],
        user_prompt=prompts["user"],
        grounded_item_prompt=prompts["grounded_item"],
        grounded_user_prompt=prompts["grounded_user"],
        item_cluster_prompt=prompts.get("item_cluster"),
        user_cluster_prompt=prompts.get("user_cluster"),
        facts=_facts(document.get("facts", {})),
        minimum_agreement=_agreement(document.get("minimum_agreement")),
        scorer=_scorer(document.get("scorer", SCORERS[0])),
    )


def _ratings(rating: dict[str, Any]) -> tuple[float, float, float]:
    minimum, above, maximum = (float(rating[key]) for key in ("minimum", "positive_above", "maximum"))
    if not minimum <= above < maximum:
        raise ValueError("rating: minimum <= positive_above < maximum must hold")
    return minimum, above, maximum


def _item_fields(entries: list[dict[str, Any]]) -> tuple[ItemField, ...]:
    fields = tuple(ItemField(**entry) for entry in entries)
    unknown = [made.transform for made in fields if made.transform not in TRANSFORMS]
    if unknown or not fields:
        raise ValueError(f"item_fields: must not be empty; unknown transforms: {unknown}")
    return fields


def _factors(factors: Any) -> tuple[str, ...]:
    if not isinstance(factors, list) or not factors or not all(isinstance(factor, str) for factor in factors):
        raise ValueError("factors: must be a list of texts, at least one")
    return tuple(factors)


def _facts(facts: Any) -> dict[str, str]:
    if not isinstance(facts, dict) or not all(isinstance(name, str) and name for name in facts.values()):
        raise ValueError("facts: must name an attribute for each role, as in `year: year`")
    if unknown := [role for role in facts if role not in FACT_ROLES]:
        raise ValueError(f"facts: must be of {', '.join(FACT_ROLES)}; unknown: {unknown}")
    return dict(facts)


def _agreement(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"minimum_agreement: must be a number from 0 to 1, is {value!r}")
    return float(value)


def _scorer(value: Any) -> str:
    if value not in SCORERS:
        raise ValueError(f"scorer: must be one of {', '.join(SCORERS)}, is {value!r}")
    return str(value)
