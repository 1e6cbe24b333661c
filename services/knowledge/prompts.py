"""Turns items and users into prompts by the scenario's templates, and prompts into the keys of answers."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jinja2

from loreline.domain import AttributeValue, Cluster, HistoryEntry, Item, UserHistory, canonical_json
from services.knowledge.tastes import summarise
from services.scenarios import Scenario
from services.scenarios.scenario import PromptTemplate

Subject = Item | UserHistory | Cluster
CLUSTER_KINDS = ("item", "user")
MAX_VALUE_CHARACTERS = 1000  # a longer attribute would crowd out the rest of a small model's context
_CHAT_MARKER = re.compile(r"<\|[^|>]{0,40}\|>|</?s>|\[/?INST\]", re.IGNORECASE)
_TEMPLATE_CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class MissingPrompt(Exception):
    """The scenario has no prompt for a kind of subject; the message names both."""


class PromptStyle(Enum):
    """What a provider wants to be asked."""

    OPEN = "open"
    """A question that lets the model say what it knows of the world."""
    GROUNDED = "grounded"
    """A question answered from the given facts alone."""
    FACTS = "facts"
    """No question: the facts themselves, as canonical JSON."""


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """What a language model is told: constant instructions, a question, and how the answer begins."""

    system: str
    user: str
    opening: str = ""


@dataclass(frozen=True, kw_only=True)
class Prompt(ChatPrompt):
    """One rendered question. `instructions` are its constant words, without facts; empty when it asks nothing."""

    subject: Subject
    scenario: Scenario
    style: PromptStyle
    version: int
    instructions: str = ""

    @property
    def subject_kind(self) -> str:
        """`item`, `user`, `item_cluster` or `user_cluster`."""
        return kind_of(self.subject)

    @property
    def subject_id(self) -> str:
        """The item's, user's or cluster's id."""
        return id_of(self.subject)


def kind_of(subject: Subject) -> str:
    """`item`, `user`, `item_cluster` or `user_cluster`."""
    if isinstance(subject, Cluster):
        return f"{subject.kind}_cluster"
    return "item" if isinstance(subject, Item) else "user"


def id_of(subject: Subject) -> str:
    """The item's, user's or cluster's id."""
    if isinstance(subject, Cluster):
        return subject.cluster_id
    return subject.item_id if isinstance(subject, Item) else subject.user_id


def render(subject: Subject, scenario: Scenario, style: PromptStyle) -> Prompt:
    """The prompt about a subject.

    Raises jinja2.TemplateError when the scenario's template is wrong, MissingPrompt when it has none for clusters.
    """
    template = _template_of(subject, scenario, style)
    if style is PromptStyle.FACTS:
        facts = _canonical_facts(subject)
        return Prompt(subject=subject, scenario=scenario, style=style, version=template.version, system="", user=facts)
    names = _names_of(subject, scenario)
    return Prompt(
        subject=subject,
        scenario=scenario,
        style=style,
        version=template.version,
        system=_render(template.system, names),
        user=_render(template.user, names),
        opening=_render(template.opening, names),
        instructions=_TEMPLATE_CODE.sub(" ", f"{template.system} {template.user}"),
    )


def check_templates(scenario: Scenario) -> None:
    """Render every template once with sample facts. Raises jinja2.TemplateError when one is wrong."""
    entries = [HistoryEntry(Item("1", scenario.name, "A title"), scenario.maximum_rating)]
    subjects: list[Subject] = [entries[0].item, UserHistory("1", entries)]
    subjects += [Cluster("1", kind, entries) for kind in CLUSTER_KINDS if cluster_template(scenario, kind)]
    for style in (PromptStyle.OPEN, PromptStyle.GROUNDED):
        for subject in subjects:
            render(subject, scenario, style)


def answer_key(prompt: Prompt, provider: str, model: str, parameters: Mapping[str, object]) -> str:
    """SHA-256, hexadecimal, of all that makes an answer: the key under which it is kept."""
    question = [provider, model, prompt.scenario.name, prompt.subject_kind, prompt.version]
    words = [prompt.system, prompt.user, prompt.opening, canonical_json(parameters)]
    return hashlib.sha256(canonical_json([*question, *words]).encode()).hexdigest()


def clean_text(value: str, max_characters: int = MAX_VALUE_CHARACTERS) -> str:
    """Facts are data: one line, no control characters or chat markers, bounded length."""
    printable = "".join(character if character.isprintable() else " " for character in value)
    while (without_markers := _CHAT_MARKER.sub(" ", printable)) != printable:  # one may stand inside another
        printable = without_markers
    return " ".join(printable.split())[:max_characters].rstrip()


def clean_value(value: AttributeValue) -> str:
    """An attribute as text: lists joined by commas, whole numbers without a fraction; empty when unknown."""
    if isinstance(value, list):
        return clean_text(", ".join(entry for entry in map(clean_text, value) if entry))
    return clean_text(value) if isinstance(value, str) else "" if value is None else clean_number(value)


def clean_number(value: float) -> str:
    """A number in the fewest characters that say all of it: 1995, 3.5."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def clean_attributes(attributes: Mapping[str, AttributeValue]) -> dict[str, str]:
    """Cleaned attributes by cleaned name, in the order of names, unknown ones left out."""
    pairs = ((clean_text(name), clean_value(attributes[name])) for name in sorted(attributes))
    return {name: value for name, value in pairs if value}


def cluster_template(scenario: Scenario, kind: str) -> PromptTemplate | None:
    """The scenario's question for a cluster of `item` or `user` kind; None when it has none."""
    return scenario.item_cluster_prompt if kind == "item" else scenario.user_cluster_prompt


def _template_of(subject: Subject, scenario: Scenario, style: PromptStyle) -> PromptTemplate:
    if isinstance(subject, Cluster):
        template = cluster_template(scenario, subject.kind)
        if template is None:
            raise MissingPrompt(f"scenario {scenario.name} has no prompt {subject.kind}_cluster")
        return scenario.grounded_user_prompt if style is PromptStyle.GROUNDED else template
    if isinstance(subject, Item):
        return scenario.grounded_item_prompt if style is PromptStyle.GROUNDED else scenario.item_prompt
    return scenario.grounded_user_prompt if style is PromptStyle.GROUNDED else scenario.user_prompt


def _names_of(subject: Subject, scenario: Scenario) -> dict[str, Any]:
    if isinstance(subject, Item):
        return {"factors": scenario.factors, "item": _item_names(subject)}
    attributes = {} if isinstance(subject, Cluster) else clean_attributes(subject.attributes)
    entries = [
        _item_names(entry.item) | {"rating": "" if entry.rating is None else clean_number(entry.rating)}
        for entry in subject.entries
    ]
    told = {"attributes": attributes, "entries": entries}
    return {"factors": scenario.factors, "user": told, "group": told, "tastes": summarise(subject, scenario)}


def _item_names(item: Item) -> dict[str, Any]:
    return {"title": clean_text(item.title), "attributes": clean_attributes(item.attributes)}


def _canonical_facts(subject: Subject) -> str:
    if isinstance(subject, Item):
        return canonical_json([subject.title, dict(subject.attributes)])
    entries = [[entry.item.title, dict(entry.item.attributes), entry.rating] for entry in subject.entries]
    if isinstance(subject, Cluster):
        return canonical_json([subject.kind, entries])
    return canonical_json([dict(subject.attributes), entries])


def _render(source: str, names: Mapping[str, Any]) -> str:
    return _compile(source).render(names).strip()


@functools.cache
def _compile(source: str) -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)
