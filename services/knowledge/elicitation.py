"""Asks a language model which factors decide in a scenario, and reads the list that it writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from loreline.client.knowledge import ElicitedFactors, Failure
from services.knowledge.limits import check_provider
from services.knowledge.metering import Meter
from services.knowledge.prompts import ChatPrompt, clean_text
from services.knowledge.providers import ProviderError, ProviderOutcome, ProviderPool
from services.knowledge.questions import failure_of
from services.knowledge.text_checks import RejectedText
from services.runtime.errors import InvalidRequest
from services.scenarios import UnknownScenario, load_scenario

MAX_ABOUT_CHARACTERS = 512
MINIMUM_FACTORS, MAX_FACTORS = 3, 12
MAX_FACTOR_CHARACTERS, MAX_FACTOR_WORDS = 60, 6
LIST_SHARE = 0.8  # of the parts between commas must be different factors, or the line is prose
SAMPLES = 3  # tries until a list can be read
SCENARIO_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SYSTEM = (
    "You help to design a recommender system. You answer with a numbered list, one short noun phrase a line, "
    "without explanations."
)
USER = (
    "The recommender is for {name}. {about}\n\n"
    "When people choose between {name}, which properties of the {name} themselves matter most? "
    "List the ten most important factors, each in one to four words."
)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022\u2013\u2014]+|\(?\d{1,2}\s*[.):\]-])\s*")
_INLINE_NUMBER = re.compile(r"(?<=\S)[ \t]+(?=\d{1,2}[.)] )")
_EXPLANATION = re.compile(r"\s*(?:[:;(\[]|\s[-\u2013\u2014]\s|\.\s).*$")
_MARKS = " \t*_`\"'\u201c\u201d\u2018\u2019.,;:"
_LETTER = re.compile(r"[^\W\d_]")


class FactorElicitor:
    """Asks for factors. Safe to call from several threads; keeps nothing."""

    def __init__(self, providers: ProviderPool, default_provider: str, meter: Meter) -> None:
        self._providers, self._default, self._meter = providers, default_provider, meter

    def elicit(self, scenario: str, about: str = "", provider: str = "") -> ElicitedFactors | Failure:
        """The factors of a scenario, configured or not, or why there are none. Raises InvalidRequest.

        `about` says what the items are; empty means the description of the configured scenario.
        """
        name = provider or self._default
        check_provider(name, self._providers.names)
        prompt = _prompt(scenario, about)
        try:
            chosen = self._providers.get(name)
            model, samples = chosen.model(), SAMPLES if chosen.can_sample else 1
            tries = (self._meter.outcomes(name, chosen, scenario, [prompt], sample) for sample in range(samples))
            return ElicitedFactors(_first_list(tries), name, model)
        except ProviderError as error:
            return failure_of(error)
        except RejectedText as error:
            return Failure("REJECTED_TEXT", str(error))


def read_factors(text: str, finish_reason: str = "stop") -> list[str]:
    """The factors that a text lists: 3 to 12, each 2 to 60 characters, no two alike, in order.

    Takes numbered and bulleted lines, plain short lines, or one line with commas; explanations after a colon, dash or
    bracket are left out, and so is the last line where the token limit (`length`) cut it. Raises RejectedText when
    that gives fewer than 3.
    """
    found: dict[str, str] = {}
    for part in _parts(_without_end(text) if finish_reason == "length" else text):
        factor = _EXPLANATION.sub("", part).strip(_MARKS)
        if _is_factor(factor):
            found.setdefault(_stem(factor), _small(factor))
    if len(found) < MINIMUM_FACTORS:
        raise RejectedText(
            "no list", f"{len(found)} of at least {MINIMUM_FACTORS} factors could be read from the answer"
        )
    return list(found.values())[:MAX_FACTORS]


def _prompt(scenario: str, about: str) -> ChatPrompt:
    if not SCENARIO_NAME.fullmatch(scenario):
        raise InvalidRequest(
            [("scenario", "must be small letters, digits and underscores, a letter first, at most 64")]
        )
    if len(about) > MAX_ABOUT_CHARACTERS:
        raise InvalidRequest([("about", f"must have at most {MAX_ABOUT_CHARACTERS} characters")])
    described = clean_text(about) or _description(scenario)
    user = USER.format(name=scenario.replace("_", " "), about=described)
    return ChatPrompt(system=SYSTEM, user=user, opening="1.")


def _description(scenario: str) -> str:
    try:
        return load_scenario(scenario).description
    except UnknownScenario as error:
        expected = f"must describe the items, because the scenario {scenario!r} is not configured"
        raise InvalidRequest([("about", expected)]) from error


def _first_list(tries: Iterator[Iterator[tuple[int, ProviderOutcome]]]) -> list[str]:
    """The factors of the first try that gives a list. Raises ProviderError, RejectedText of the last try."""
    last = RejectedText("empty", "the model wrote nothing")
    for outcomes in tries:
        try:
            return read_factors(*_answer(outcomes))
        except RejectedText as why:
            last = why
    raise last


def _answer(outcomes: Iterator[tuple[int, ProviderOutcome]]) -> tuple[str, str]:
    for _, outcome in outcomes:
        if isinstance(outcome, ProviderError):
            raise outcome
        return outcome.text, outcome.finish_reason
    raise RejectedText("empty", "the model wrote nothing")


def _without_end(text: str) -> str:
    return text.rpartition("\n")[0] or text.rpartition(",")[0]


def _parts(text: str) -> Sequence[str]:
    lines = [line for line in _INLINE_NUMBER.sub("\n", text).splitlines() if line.strip()]
    listed = [_BULLET.sub("", line) for line in lines if _BULLET.match(line)]
    if len(listed) >= MINIMUM_FACTORS:
        return listed
    short = [line for line in lines if not line.rstrip().endswith((":", ".", "!", "?"))]
    if len(short) >= MINIMUM_FACTORS:
        return short
    return _comma_parts(lines[0]) if len(lines) == 1 else []


def _comma_parts(line: str) -> Sequence[str]:
    """The parts of a line that is a list; none where most of them are prose or said again and again."""
    parts = [part.strip(_MARKS) for part in re.split(r",|;|\band\b", _BULLET.sub("", line)) if part.strip(_MARKS)]
    different = {_stem(part) for part in parts if _is_factor(part)}
    return parts if len(different) >= LIST_SHARE * len(parts) else []


def _is_factor(factor: str) -> bool:
    if not 2 <= len(factor) <= MAX_FACTOR_CHARACTERS or len(factor.split()) > MAX_FACTOR_WORDS:
        return False
    letters = len(_LETTER.findall(factor))
    return letters >= 2 and letters >= 0.6 * len(factor.replace(" ", "")) and clean_text(factor) == factor


def _stem(factor: str) -> str:
    words = [word.rstrip("s") for word in re.findall(r"\w+", factor.casefold()) if word not in {"the", "a", "an"}]
    return " ".join(words)


def _small(factor: str) -> str:
    """In small letters, but for abbreviations."""
    return " ".join(word.lower() if word[1:] == word[1:].lower() else word for word in factor.split())
