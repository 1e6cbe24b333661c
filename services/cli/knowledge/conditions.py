"""Conditions over stored knowledge, as `loreline knowledge rebuild --where` takes them: `prompt_version<3`.

A condition is made of comparisons, joined by `and`, `or`, `not` and parentheses. Values with spaces or parentheses
stand in quotes. A subject without knowledge meets `knowledge=none` and no other comparison; a value that was never
known, such as the agreement of a single sample, meets `=none` and no other.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyparsing as pp

from loreline.client import StoredSubject
from services.cli.output import BadInput

Value = str | float | datetime
Test = Callable[[StoredSubject], bool]
Kind = Literal["text", "number", "time", "presence"]
NONE = "none"
MAX_CHARACTERS = 1000
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
EQUALITY = ("=", "==", "!=")
OF_PROVENANCE: Mapping[str, Kind] = {
    "provider": "text",
    "model": "text",
    "scenario": "text",
    "prompt_version": "number",
    "prompt_tokens": "number",
    "completion_tokens": "number",
    "finish_reason": "text",
    "agreement": "number",
    "created_time": "time",
    "fallback_reason": "text",
    "cluster": "text",
    "cluster_weight": "number",
}
FIELDS: Mapping[str, Kind] = {**OF_PROVENANCE, "encoder": "text", "knowledge": "presence"}
EXPECTED = {
    "text": "text",
    "number": f"a number, or {NONE}",
    "time": "a moment such as 2026-01-01 or 2026-01-01T12:30 (UTC)",
    "presence": NONE,
}


@dataclass(frozen=True)
class Condition:
    """A condition in words, with single spaces, and as a test of a subject."""

    text: str
    test: Test


def parse_condition(text: str) -> Condition:
    """The condition that a text says. Raises BadInput that names the field, or shows where the text cannot be read."""
    if not text.strip() or len(text) > MAX_CHARACTERS:
        raise BadInput(f"--where: must have 1 to {MAX_CHARACTERS} characters; {_help()}")
    try:
        test: Test = _GRAMMAR.parse_string(text, parse_all=True)[0]
    except pp.ParseBaseException as error:
        rest = text[error.loc :] or "its end"
        raise BadInput(f"--where: cannot be read from {rest!r} on; {_help()}") from error
    return Condition(" ".join(text.split()), test)


def _comparison(tokens: pp.ParseResults) -> Test:
    field, sign, text = tokens
    kind = FIELDS.get(field)
    if kind is None:
        raise BadInput(f"--where: there is no field {field!r}; {_help()}")
    if sign not in EQUALITY and kind in ("text", "presence"):
        raise BadInput(f"--where: {field}: must be compared with = or !=, not with {sign}")
    wanted = _value(field, kind, sign, text)
    if kind == "presence":
        return lambda subject: (subject.knowledge is None) == (sign != "!=")
    compare = OPERATORS[sign]
    if wanted is None:
        return lambda subject: subject.knowledge is not None and compare(_read(subject, field), None)
    return lambda subject: (found := _read(subject, field)) is not None and compare(found, wanted)


def _value(field: str, kind: Kind, sign: str, text: str) -> Value | None:
    """The value as the field has it; None for the word `none` where it means that there is no value."""
    try:
        if kind == "text":
            return text
        if text == NONE and sign in EQUALITY:
            return None
        if kind == "number":
            return float(text)
        if kind == "time":
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    except ValueError:
        pass
    raise BadInput(f"--where: {field}: must be compared with {EXPECTED[kind]}, not with {text!r}")


def _read(subject: StoredSubject, field: str) -> Value | None:
    if subject.knowledge is None:
        return None
    if field == "encoder":
        return subject.encoder
    value: Value | None = getattr(subject.knowledge.provenance, field)
    return value


def _negated(tokens: pp.ParseResults) -> Test:
    test: Test = tokens[0][-1]
    return lambda subject: not test(subject)


def _joined(how: Callable[[Any], bool]) -> Callable[[pp.ParseResults], Test]:
    def join(tokens: pp.ParseResults) -> Test:
        tests: list[Test] = list(tokens[0][::2])
        return lambda subject: how(test(subject) for test in tests)

    return join


def _grammar() -> pp.ParserElement:
    field = pp.Word(pp.alphas + "_")
    value = pp.QuotedString('"') | pp.QuotedString("'") | pp.Regex(r"[^\s()\"']+")
    comparison = (field + pp.one_of(list(OPERATORS)) + value).set_parse_action(_comparison)
    levels: list[Any] = [
        (pp.CaselessKeyword("not"), 1, pp.OpAssoc.RIGHT, _negated),
        (pp.CaselessKeyword("and"), 2, pp.OpAssoc.LEFT, _joined(all)),
        (pp.CaselessKeyword("or"), 2, pp.OpAssoc.LEFT, _joined(any)),
    ]
    grammar: pp.ParserElement = pp.infix_notation(comparison, levels)  # type: ignore[no-untyped-call]
    return grammar


def _help() -> str:
    return f"write FIELD OPERATOR VALUE, joined by and, or, not; the fields are {', '.join(FIELDS)}"


_GRAMMAR = _grammar()
