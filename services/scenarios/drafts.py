"""Writes the text of scenario files for a person to edit: new factors in a known one, or a first draft of a new one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from string import Template

import yaml

from services.scenarios.scenario import InvalidScenario, scenario_directories, scenario_names

_KEY = re.compile(r"factors\s*:")


def source_of(name: str) -> str | None:
    """The text of the configured scenario's file; None when there is no scenario of that name."""
    if name not in scenario_names():
        return None
    paths = (folder / f"{name}.yaml" for folder in scenario_directories())
    return next(path for path in paths if path.exists()).read_text(encoding="utf-8")


def with_factors(source: str, factors: Sequence[str]) -> str:
    """The same file with other factors: every other line, comments and order included, stays as it is.

    Raises InvalidScenario when the file has no list of factors at its top level.
    """
    lines = source.split("\n")
    begin = next((number for number, line in enumerate(lines) if _KEY.match(line)), None)
    if begin is None:
        raise InvalidScenario("factors: the file must hold them as a list at its top level")
    end = _end_of_block(lines, begin)
    changed = "\n".join([*lines[:begin], *_block(factors).split("\n"), *lines[end:]])
    if yaml.safe_load(changed) != yaml.safe_load(source) | {"factors": list(factors)}:
        raise InvalidScenario("factors: the list could not be replaced without touching the rest of the file")
    return changed


def new_scenario(name: str, about: str, factors: Sequence[str]) -> str:
    """A first draft of a scenario: rated from 1 to 5, compared by `categories`, with general prompts."""
    template = resources.files("services.scenarios") / "skeleton.yaml.template"
    words = {"name": name, "about": _quoted(about), "things": name.replace("_", " "), "factors": _block(factors)}
    return Template(template.read_text(encoding="utf-8")).substitute(words)


def _end_of_block(lines: Sequence[str], begin: int) -> int:
    """The number of the line after the last one that belongs to the key at `begin`."""
    end = begin + 1
    for number, line in enumerate(lines[begin + 1 :], start=begin + 1):
        if line[:1] not in {"", " ", "\t", "-", "#", "]"}:
            break
        if line.strip() and not line.startswith("#"):
            end = number + 1
    return end


def _block(factors: Sequence[str]) -> str:
    return "\n".join(["factors:", *(f"  - {_quoted(factor)}" for factor in factors)])


def _quoted(text: str) -> str:
    """The text as a YAML scalar on one line; quoted only where it must be."""
    plain = re.fullmatch(r"[^\W\d_][\w ,()/'.-]*", text) and not text.endswith(" ")
    return text if plain and yaml.safe_load(text) == text else json.dumps(text, ensure_ascii=False)
