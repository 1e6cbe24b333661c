"""The prompts of every shipped scenario."""

from __future__ import annotations

from typing import Any

import pytest

from loreline.domain import HistoryEntry, Item, UserHistory
from services.knowledge.prompts import PromptStyle, check_templates, render
from services.knowledge.providers.catalogue import compose
from services.knowledge.text_checks import RejectedText, accept
from services.scenarios import Scenario, load_scenario, scenario_names

FACTS: dict[str, Any] = {"text": "Harbour", "first": ["Harbour", "Lantern"], "decade": 1994.0, "band": 12.5}


@pytest.fixture(params=scenario_names())
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return load_scenario(request.param)


def thing(scenario: Scenario) -> Item:
    """An item with all attributes of which the scenario makes features."""
    return Item("1", scenario.name, "Quiet Bridge", {f.attribute: FACTS[f.transform] for f in scenario.item_fields})


def person(scenario: Scenario) -> UserHistory:
    """A user who received one item well, and badly another one of which nothing is known."""
    disliked = HistoryEntry(Item("2", scenario.name, "Loud Planet"), scenario.minimum_rating)
    entries = [HistoryEntry(thing(scenario), scenario.maximum_rating), disliked]
    return UserHistory("7", entries, {"town": "Oldham"})


def test_every_template_renders(scenario: Scenario) -> None:
    """Also for an item and a user of whom nothing is known."""
    check_templates(scenario)


def test_open_prompts_ask_for_every_factor(scenario: Scenario) -> None:
    """Word for word, for items and users."""
    for subject in (thing(scenario), person(scenario)):
        prompt = render(subject, scenario, PromptStyle.OPEN)
        assert all(factor in prompt.user for factor in scenario.factors)


def test_item_prompts_hold_all_that_is_known(scenario: Scenario) -> None:
    """Title and attributes, for large and for small models."""
    for style in (PromptStyle.OPEN, PromptStyle.GROUNDED):
        prompt = render(thing(scenario), scenario, style)
        assert "Quiet Bridge" in prompt.user
        assert "Harbour" in prompt.user


def test_user_prompts_tell_the_history_in_order(scenario: Scenario) -> None:
    """Each entry with how it was received, and what is known of the user."""
    lines = render(person(scenario), scenario, PromptStyle.OPEN).user.splitlines()
    told = [line for line in lines if line.startswith('"')]
    assert [line.split('"')[1] for line in told] == ["Quiet Bridge", "Loud Planet"]
    assert told[0].split(",")[1] != told[1].split(",")[1]
    assert any("Oldham" in line for line in lines)


def test_grounded_prompts_open_the_answer_with_given_facts(scenario: Scenario) -> None:
    """What a small model goes on from, and what it is asked, say the same."""
    for subject in (thing(scenario), person(scenario)):
        prompt = render(subject, scenario, PromptStyle.GROUNDED)
        assert prompt.opening
        assert "harbour" in prompt.opening


def test_templates_leave_no_blanks(scenario: Scenario) -> None:
    """No template code and no unset value reaches a model."""
    for subject in (thing(scenario), person(scenario)):
        for style in (PromptStyle.OPEN, PromptStyle.GROUNDED):
            prompt = render(subject, scenario, style)
            words = f"{prompt.system} {prompt.user} {prompt.opening}"
            assert not any(mark in words for mark in ("{{", "}}", "{%", "None", "  such"))


def test_an_answer_that_repeats_its_instructions_is_rejected(scenario: Scenario) -> None:
    """The constant words of each scenario are known to the check."""
    for subject in (thing(scenario), person(scenario)):
        prompt = render(subject, scenario, PromptStyle.OPEN)
        with pytest.raises(RejectedText, match="prompt echo"):
            accept(prompt.system, prompt, "stop")


def test_the_catalogue_composes_a_text_that_passes_its_checks(scenario: Scenario) -> None:
    """Content is a fallback in every scenario."""
    for subject in (thing(scenario), person(scenario)):
        text = compose(subject, scenario)
        assert accept(text, render(subject, scenario, PromptStyle.FACTS), "stop") == text
