"""Loads a scenario's YAML and checks it. To add a scenario, add a YAML here or in LORELINE_SCENARIO_DIRECTORY.

LORELINE_SCENARIO_DIRECTORY is an environment variable that names a folder of one's own scenario files; a file there
wins over a shipped one of the same name. Every process that speaks of the scenario must be given it.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from loreline.domain import AttributeValue, Item, did_you_mean

STRICT = ConfigDict(extra="forbid", frozen=True)
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

    __pydantic_config__ = STRICT  # of the file's reader: an unknown key is an error

    version: int
    system: str
    user: str
    opening: str = ""


@dataclass(frozen=True)
class ItemField:
    """A categorical model feature made of one item attribute. `transform` is a key of TRANSFORMS."""

    __pydantic_config__ = STRICT

    name: str
    attribute: str
    transform: str


class _Rating(BaseModel):
    model_config = STRICT

    minimum: float
    positive_above: float
    maximum: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.minimum <= self.positive_above < self.maximum:
            raise ValueError("minimum <= positive_above < maximum must hold")
        return self


class _Prompts(BaseModel):
    model_config = STRICT

    item: PromptTemplate
    user: PromptTemplate
    grounded_item: PromptTemplate
    grounded_user: PromptTemplate
    item_cluster: PromptTemplate | None = None
    user_cluster: PromptTemplate | None = None


class _Document(BaseModel):
    """A scenario's file."""

    model_config = STRICT

    name: str
    description: str
    rating: _Rating
    item_fields: tuple[ItemField, ...] = Field(min_length=1)
    factors: tuple[str, ...] = Field(min_length=1)
    prompts: _Prompts
    facts: dict[str, str] = {}
    minimum_agreement: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    scorer: str = SCORERS[0]

    @field_validator("item_fields")
    @classmethod
    def _transformed(cls, entries: tuple[ItemField, ...]) -> tuple[ItemField, ...]:
        for made in entries:
            if made.transform not in TRANSFORMS:
                near = did_you_mean(made.transform, TRANSFORMS)
                raise ValueError(f"transform: must be one of {', '.join(TRANSFORMS)}, is {made.transform!r}{near}")
        return entries

    @field_validator("facts")
    @classmethod
    def _of_known_roles(cls, facts: dict[str, str]) -> dict[str, str]:
        for role, attribute in facts.items():
            if role not in FACT_ROLES:
                near = did_you_mean(role, FACT_ROLES)
                raise ValueError(f"must be of {', '.join(FACT_ROLES)}; is {role!r}{near}")
            if not attribute:
                raise ValueError(f"must name an attribute for {role}")
        return facts

    @field_validator("scorer")
    @classmethod
    def _known(cls, scorer: str) -> str:
        if scorer not in SCORERS:
            raise ValueError(f"must be one of {', '.join(SCORERS)}, is {scorer!r}{did_you_mean(scorer, SCORERS)}")
        return scorer


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
    except ValidationError as error:
        raise InvalidScenario(f"{found}: {'; '.join(_explained(fault) for fault in error.errors())}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidScenario(f"{found}: {error}") from error


def _parse(document: Any, name: str) -> Scenario:
    read = _Document.model_validate(document)
    if read.name != name:
        raise ValueError(f"name: must equal the file's name, {name!r}")
    prompts = read.prompts
    return Scenario(
        name=name,
        description=read.description,
        positive_above=read.rating.positive_above,
        minimum_rating=read.rating.minimum,
        maximum_rating=read.rating.maximum,
        item_fields=read.item_fields,
        factors=read.factors,
        item_prompt=prompts.item,
        user_prompt=prompts.user,
        grounded_item_prompt=prompts.grounded_item,
        grounded_user_prompt=prompts.grounded_user,
        item_cluster_prompt=prompts.item_cluster,
        user_cluster_prompt=prompts.user_cluster,
        facts=read.facts,
        minimum_agreement=read.minimum_agreement,
        scorer=read.scorer,
    )


def _explained(fault: ErrorDetails) -> str:
    """A fault of the document, with the path of its key; a misspelt key with the right one."""
    path = [str(part) for part in fault["loc"]]
    if fault["type"] not in {"extra_forbidden", "unexpected_keyword_argument"}:
        given = f", is {fault['input']!r}" if isinstance(fault["input"], str | int | float) else ""
        return f"{'.'.join(path) or 'the file'}: {fault['msg'].removeprefix('Value error, ')}{given}"
    known = _keys_at(tuple(part for part in fault["loc"][:-1] if isinstance(part, str)))
    return f"{'.'.join(path)}: there is no such key{did_you_mean(path[-1], known)} (there are {', '.join(known)})"


def _keys_at(path: tuple[str, ...]) -> list[str]:
    """The keys that a mapping at a path of the document may have."""
    kinds: dict[tuple[str, ...], Iterable[str]] = {
        (): _Document.model_fields,
        ("rating",): _Rating.model_fields,
        ("prompts",): _Prompts.model_fields,
        ("item_fields",): [made.name for made in fields(ItemField)],
    }
    return list(kinds.get(path, [made.name for made in fields(PromptTemplate)]))
