"""Cuts prompts to what a model reads: what is old or long goes first, instructions and titles never."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import overload

from loreline.domain import AttributeValue, Cluster, Item
from services.knowledge.prompts import MAX_VALUE_CHARACTERS, Prompt, PromptStyle, Subject, clean_value, render
from services.knowledge.providers import PromptTooLong
from services.knowledge.tokens import estimated_prompt_tokens
from services.scenarios import Scenario


def render_within(subject: Subject, scenario: Scenario, style: PromptStyle, most_tokens: int | None) -> Prompt:
    """The prompt about a subject in at most so many estimated tokens; None: as it is.

    Cut are first the oldest entries of a history (of a cluster those farthest from its middle), down to one, then the
    longest attribute texts, all to one length at the end of a word. The prompt's subject stays whole.
    Raises PromptTooLong when that is not enough, and what `render` raises.
    """

    def rendered(cut: Subject) -> Prompt:
        return render(cut, scenario, style)

    whole = rendered(subject)
    if most_tokens is None or style is PromptStyle.FACTS or _fits(whole, most_tokens):
        return whole
    entries = 1 if isinstance(subject, Item) else len(subject.entries)
    kept = _largest(entries, lambda count: _fits(rendered(_with_entries(subject, count)), most_tokens))
    shorter = _with_entries(subject, kept or 1)
    if kept is None or isinstance(subject, Item):
        length = _largest(MAX_VALUE_CHARACTERS, lambda most: _fits(rendered(_with_texts(shorter, most)), most_tokens))
        shorter = _with_texts(shorter, length or 0)
    prompt = rendered(shorter)
    if not _fits(prompt, most_tokens):
        raise PromptTooLong(f"the prompt is over {most_tokens} tokens even with everything cut that may be cut")
    return dataclasses.replace(prompt, subject=subject)


def shortened(prompt: Prompt) -> Prompt | None:
    """The prompt with half of its estimated tokens that may be cut, cut as `render_within` does; None: there are none.

    For a model that reads less than a prompt has, and does not say how much: of one prompt after another comes the
    longest that it takes, nearly.
    """
    subject, scenario, style = prompt.subject, prompt.scenario, prompt.style
    shortest = render(_with_texts(_with_entries(subject, 1), 0), scenario, style)
    least, now = estimated_prompt_tokens(shortest), estimated_prompt_tokens(prompt)
    if least >= now or style is PromptStyle.FACTS:
        return None
    return render_within(subject, scenario, style, least + (now - least) // 2)


def _fits(prompt: Prompt, most_tokens: int) -> bool:
    return estimated_prompt_tokens(prompt) <= most_tokens


def _largest(most: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number from 1 to `most` that fits, None when 1 does not: what fits, fits with less too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low or None


def _with_entries(subject: Subject, count: int) -> Subject:
    if isinstance(subject, Item):
        return subject
    entries = subject.entries[:count] if isinstance(subject, Cluster) else subject.entries[-count:]
    return dataclasses.replace(subject, entries=entries)


@overload
def _with_texts(subject: Item, most: int) -> Item: ...
@overload
def _with_texts(subject: Subject, most: int) -> Subject: ...
def _with_texts(subject: Subject, most: int) -> Subject:
    """The subject with every attribute text cut to at most so many characters; 0 leaves them out."""
    if isinstance(subject, Item):
        return dataclasses.replace(subject, attributes=_cut_attributes(subject.attributes, most))
    entries = [dataclasses.replace(entry, item=_with_texts(entry.item, most)) for entry in subject.entries]
    if isinstance(subject, Cluster):
        return dataclasses.replace(subject, entries=entries)
    return dataclasses.replace(subject, entries=entries, attributes=_cut_attributes(subject.attributes, most))


def _cut_attributes(attributes: Mapping[str, AttributeValue], most: int) -> dict[str, AttributeValue]:
    return {name: _cut(value, most) for name, value in attributes.items()}


def _cut(value: AttributeValue, most: int) -> AttributeValue:
    text = clean_value(value)
    if not isinstance(value, str | list) or len(text) <= most:
        return value
    begun = text[: most + 1]
    return begun.rpartition(" ")[0].rstrip(" ,;:") if " " in begun else text[:most]
