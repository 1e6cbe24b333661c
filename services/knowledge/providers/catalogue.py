"""Composes texts from the given attributes alone: deterministic, needs no language model and invents nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loreline.domain import Cluster, Item, UserHistory
from services.knowledge.prompts import (
    ChatPrompt,
    Prompt,
    PromptStyle,
    Subject,
    clean_attributes,
    clean_number,
    clean_text,
)
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderRefused
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.tastes import Taste, Tastes, field_values, summarise
from services.scenarios import Scenario

COMPOSITION = 2  # raise with every change of words: part of the key under which answers are kept
SHOWN_TASTES = 4
SHOWN_MEMBERS = 5
ROUNDED = {"decade", "band"}  # transforms that do not tell the whole attribute


class CatalogueProvider:
    """The default for bulk: thousands of texts a second."""

    prompt_style = PromptStyle.FACTS
    can_sample = False

    def __init__(self, _settings: KnowledgeSettings) -> None:
        pass

    def model(self) -> str:
        """`template`: no language model is asked."""
        return "template"

    def limits(self) -> Limits:
        """None: it costs nothing."""
        return Limits(new_tokens=0)

    def parameters(self, sample: int) -> Mapping[str, Any]:  # noqa: ARG002
        """The version of the composition."""
        return {"composition": COMPOSITION}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:  # noqa: ARG002
        """Yield every text at once, in order."""
        for index, prompt in enumerate(prompts):
            if isinstance(prompt, Prompt):
                yield index, Completion(compose(prompt.subject, prompt.scenario))
            else:
                yield (
                    index,
                    ProviderRefused("the catalogue is no language model: it composes texts about subjects only"),
                )

    def answers(self) -> bool:
        """Always: there is nothing to wait for."""
        return True

    def is_paused(self) -> bool:
        """Never: it is not a server."""
        return False

    def close(self) -> None:
        """Nothing to let go of."""


def compose(subject: Subject, scenario: Scenario) -> str:
    """The text about an item, a user or a cluster, in whole sentences."""
    if isinstance(subject, Item):
        return " ".join(_item_sentences(subject, scenario))
    if isinstance(subject, Cluster):
        return " ".join(_cluster_sentences(subject, scenario))
    return " ".join(_user_sentences(subject, scenario))


def _item_sentences(item: Item, scenario: Scenario) -> Iterator[str]:
    by_field = {field.name: list(field_values(item, field)) for field in scenario.item_fields}
    known = {_plain(name): [_shown(scenario, name, value) for value in v] for name, v in by_field.items() if v}
    yield f'"{clean_text(item.title)}" is an entry in the catalogue of {_plain(scenario.name)}.'
    for name, values in known.items():
        yield f"Its {name} is {join(values)}." if len(values) == 1 else f"It joins several of {name}: {join(values)}."
    yield from _attribute_sentences(item, scenario)
    if known:
        choices = join([f"{name} ({join(values)})" for name, values in known.items()])
        yield f"It is for those who choose {_plain(scenario.name)} by {choices}."
    else:
        yield "Nothing is recorded about the fields by which such entries are compared."


def _attribute_sentences(item: Item, scenario: Scenario) -> Iterator[str]:
    said = {field.attribute for field in scenario.item_fields if field.transform not in ROUNDED}
    for name, value in clean_attributes(item.attributes).items():
        if name not in said:
            factor = _factor_of(name, scenario.factors)
            about = f" (on {factor})" if factor and factor != _plain(name) else ""
            yield f"The catalogue gives its {_plain(name)}{about} as {value.removesuffix('.')}."


def _factor_of(name: str, factors: tuple[str, ...]) -> str:
    stems = {word.rstrip("s") for word in re.findall(r"\w+", _plain(name).lower())}
    return next((f for f in factors if stems & {word.rstrip("s") for word in re.findall(r"\w+", f.lower())}), "")


def _user_sentences(user: UserHistory, scenario: Scenario) -> Iterator[str]:
    tastes = summarise(user, scenario)
    yield _opening(user, scenario, tastes)
    if about := clean_attributes(user.attributes):
        yield f"Known about them: {join([f'{_plain(name)} {value}' for name, value in about.items()])}."
    yield from _reception_sentences(scenario, tastes)


def _cluster_sentences(cluster: Cluster, scenario: Scenario) -> Iterator[str]:
    tastes, members = summarise(cluster, scenario), _plain(scenario.name)
    titles = join([_quoted(entry.item.title) for entry in cluster.entries[:SHOWN_MEMBERS]])
    if cluster.kind == "user":
        yield f"This text is about a group of users with similar tastes in {members}, known by {titles}."
        yield from _reception_sentences(scenario, tastes)
        return
    yield f"This text is about a group of similar entries in the catalogue of {members}, such as {titles}."
    for name, found in tastes.liked.items():
        if found:
            shown = [f"{_shown(scenario, name, taste.value)} ({taste.count})" for taste in found[:SHOWN_TASTES]]
            yield f"The values of {_plain(name)} seen most often among them are {join(shown)}."


def _reception_sentences(scenario: Scenario, tastes: Tastes) -> Iterator[str]:
    for name in tastes.liked:
        yield from _taste_sentences(scenario, name, tastes)
    if tastes.best_titles:
        yield f"Among the best received: {join([_quoted(title) for title in tastes.best_titles])}."
    if tastes.worst_titles:
        yield f"Among the worst received: {join([_quoted(title) for title in tastes.worst_titles])}."


def _opening(user: UserHistory, scenario: Scenario, tastes: Tastes) -> str:
    history = f"This user's history holds {len(user.entries)} {_plain(scenario.name)}"
    if tastes.mean_rating is None:
        return f"{history}, none of them rated, the last one {_quoted(user.entries[-1].item.title)}."
    scale = f"on a scale from {clean_number(scenario.minimum_rating)} to {clean_number(scenario.maximum_rating)}"
    rated = f"{tastes.rated_count} of them rated {tastes.mean_rating:.1f} on average"
    return f"{history}, {rated} {scale}: {_tendency(tastes.mean_rating, scenario)}."


def _tendency(mean: float, scenario: Scenario) -> str:
    span = scenario.maximum_rating - scenario.minimum_rating
    share = (mean - scenario.minimum_rating) / span if span else 0.5
    return "a generous rater" if share >= 0.7 else "a strict rater" if share < 0.45 else "a balanced rater"


def _taste_sentences(scenario: Scenario, name: str, tastes: Tastes) -> Iterator[str]:
    for verb, found in (("favour", tastes.liked[name]), ("think less of", tastes.disliked[name])):
        if found:
            shown = [_received(taste, _shown(scenario, name, taste.value)) for taste in found[:SHOWN_TASTES]]
            yield f"By {_plain(name)} they {verb} (times seen, mean rating) {join(shown)}."


def _received(taste: Taste, value: str) -> str:
    return f"{value} ({taste.count}{'' if taste.mean_rating is None else f', {taste.mean_rating:.1f}'})"


def _shown(scenario: Scenario, name: str, value: str) -> str:
    field = next(field for field in scenario.item_fields if field.name == name)
    return f"the {value}s" if field.transform == "decade" else clean_text(value)


def _quoted(title: str) -> str:
    return f'"{clean_text(title)}"'


def _plain(name: str) -> str:
    return clean_text(name.replace("_", " "))


def join(values: list[str]) -> str:
    """Values as a reader lists them: `a`, `a and b`, `a, b and c`."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"
