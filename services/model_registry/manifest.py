"""What binds a version's files: its kind, the scenarios that it was trained for, and the inputs of its scorer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, model_validator

ScorerKind = Literal["kar", "unictr", "unictr-student"]
SCORER_KINDS: tuple[ScorerKind, ...] = get_args(ScorerKind)
SCORER_INPUTS = {  # name: (dtype, shape)
    "item_id": ("int64", ("B", "C")),
    "item_fields": ("int64", ("B", "C", "F")),
    "item_augmented": ("float32", ("B", "C", "A")),  # zeros: no knowledge
    "history_item_id": ("int64", ("B", "L")),  # oldest first, PADDING at the end
    "history_fields": ("int64", ("B", "L", "F")),
    "history_rating": ("float32", ("B", "L")),  # scenario's unit, 0 = none given or padding
    "user_augmented": ("float32", ("B", "A")),  # zeros: no knowledge
}
DOMAIN = "domain"  # further input of a student: int64 (B,), the place in the manifest's scenarios, or NO_DOMAIN
NO_DOMAIN = -1
SCORER_OUTPUT = "score"  # float32 (B, C), probability of a positive interaction
InputSizes = dict[str, tuple[str, tuple[str, ...]]]


class Manifest(BaseModel):
    """What binds a version's files. Widths count float32 numbers; `metrics` are those of the test part.

    A `kar` version ranks its one `scenario`; the others have `scenarios`, each with a network or index of its own, and
    rank any further one by what they have in common; a student's n-th of `item_fields` is the n-th of each scenario's
    own. A `unictr` version reads texts alone: it has no encoder of stored
    knowledge, no adaptor and no widths of theirs; `backbone` names its language model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    version: str
    kind: ScorerKind = "kar"
    scenario: str = ""
    scenarios: list[str] = []
    backbone: str
    created_time: datetime
    encoder: str = ""
    knowledge_dimension: int = 0
    augmented_dimension: int = 0
    history_length: int
    item_fields: list[str] = []
    metrics: dict[str, float]
    data_hash: str
    file_hashes: dict[str, str]

    @model_validator(mode="after")
    def _has_scenarios(self) -> Manifest:
        if self.kind == "kar" and not (self.scenario and self.encoder):
            raise ValueError("scenario, encoder: must be set for a version of kind kar")
        if self.kind == "unictr-student" and not (self.scenarios and self.encoder):
            raise ValueError("scenarios, encoder: must be set for a version of kind unictr-student")
        if len(set(self.scenarios)) != len(self.scenarios):
            raise ValueError("scenarios: must not repeat a name")
        return self

    @property
    def trained_scenarios(self) -> list[str]:
        """The scenarios that it was trained for, whatever its kind."""
        return self.scenarios or [self.scenario] * bool(self.scenario)

    @property
    def has_adaptor(self) -> bool:
        """Whether it reads stored knowledge, which its adaptor has to have prepared."""
        return self.kind != "unictr"

    def domain(self, scenario: str) -> int:
        """The scenario's place among `scenarios`; NO_DOMAIN for one that training never saw."""
        return self.scenarios.index(scenario) if scenario in self.scenarios else NO_DOMAIN

    def written(self) -> str:
        """As JSON. What a kar version does not need is left out: releases before there were kinds read it, too."""
        unneeded = {"kind", "scenarios"} if self.kind == "kar" else set()
        return self.model_dump_json(indent=2, exclude=unneeded)


def scorer_inputs_of(kind: ScorerKind) -> InputSizes:
    """Name, dtype and shape of each input of a kind's scorer.onnx; a unictr version has none. Raises KeyError."""
    own: dict[ScorerKind, InputSizes] = {
        "kar": SCORER_INPUTS,
        "unictr-student": SCORER_INPUTS | {DOMAIN: ("int64", ("B",))},
    }
    return own[kind]
