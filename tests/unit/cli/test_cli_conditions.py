"""The conditions of `loreline knowledge rebuild --where`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from loreline.client import StoredSubject
from services.cli.knowledge.conditions import FIELDS, parse_condition
from services.cli.output import BadInput
from tests.knowledge_samples import sample_knowledge

KNOWN = sample_knowledge("A film for patient viewers.")
SOURCE = replace(
    KNOWN.provenance,
    provider="tgi",
    model="Qwen (small)",
    prompt_version=2,
    agreement=0.4,
    created_time=datetime(2026, 1, 15, tzinfo=UTC),
    fallback_reason="",
)
ITEM = StoredSubject("i1", None, None, replace(KNOWN, provenance=SOURCE), None, "minilm-1", [])
UNKNOWN = StoredSubject("i2", None, None, None, None, "", [])


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("prompt_version<3", True),
        ("prompt_version < 2", False),
        ("prompt_version>=2", True),
        ("provider=tgi", True),
        ("provider==tgi", True),
        ("provider!=tgi", False),
        ('model="Qwen (small)"', True),
        ("model='Qwen (small)' and prompt_version=2", True),
        ("agreement<0.5", True),
        ("agreement=none", False),
        ("created_time<2026-01-16", True),
        ("created_time<=2026-01-14T23:59", False),
        ('fallback_reason!=""', False),
        ("encoder!=minilm-2", True),
        ("knowledge=none", False),
        ("knowledge!=none", True),
        ("provider=x or prompt_version=2", True),
        ("provider=x or prompt_version=2 and agreement>0.5", False),
        ("(provider=x or prompt_version=2) AND not agreement>0.5", True),
    ],
)
def test_a_condition_is_met_as_it_reads(text: str, met: bool) -> None:
    """`and` binds closer than `or`, `not` closest; times are UTC."""
    assert parse_condition(text).test(ITEM) is met


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_asked_for(field: str) -> None:
    """Each is compared with a value of its kind."""
    value = {"time": "2026-01-15", "presence": "none"}.get(FIELDS[field], "1")
    assert isinstance(parse_condition(f"{field}!={value}").test(ITEM), bool)


def test_what_is_not_known_meets_no_comparison_but_none() -> None:
    """Neither a subject without knowledge, nor the agreement of one sample."""
    single = replace(ITEM, knowledge=replace(KNOWN, provenance=replace(SOURCE, agreement=None)))
    assert parse_condition("knowledge=none").test(UNKNOWN)
    assert not parse_condition("prompt_version<3 or provider!=x or agreement=none").test(UNKNOWN)
    assert parse_condition("agreement=none").test(single)
    assert not parse_condition("agreement<0.5 or agreement!=0.1").test(single)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must have 1 to 1000 characters"),
        ("prompt<3", "there is no field 'prompt'"),
        ("model<3", "model: must be compared with = or !=, not with <"),
        ("prompt_version<three", "prompt_version: must be compared with a number, or none, not with 'three'"),
        ("prompt_version<none", "prompt_version: must be compared with a number"),
        ("created_time>yesterday", "created_time: must be compared with a moment such as 2026-01-01"),
        ("knowledge=some", "knowledge: must be compared with none"),
        ("prompt_version", "cannot be read from 'prompt_version'"),
        ("prompt_version<3 provider=x", "cannot be read from 'provider=x'"),
        ("prompt_version~3", "cannot be read from"),
        ("(prompt_version<3", "cannot be read from"),
        ("__import__('os')=1", "cannot be read from"),
    ],
)
def test_a_wrong_condition_says_what_was_wrong(text: str, words: str) -> None:
    """A wrong field, operator or value is named; the message lists the fields where that helps."""
    with pytest.raises(BadInput, match="--where: ") as caught:
        parse_condition(text)
    assert words in str(caught.value)
