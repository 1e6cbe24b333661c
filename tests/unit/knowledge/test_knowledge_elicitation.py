"""Factors asked of a language model: what is read from its answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from knowledge_parts import unlimited_meter

from loreline.client import ElicitedFactors, Failure, InvalidArgumentError, KnowledgeClient
from services.knowledge.elicitation import FactorElicitor, read_factors
from services.knowledge.metering import Meter
from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderPool, ProviderUnavailable
from services.knowledge.text_checks import RejectedText
from tests.language_model_stub import FaultStub

NUMBERED = "1. Genre\n2. Story and theme: what happens, and why\n3) **Director**\n4. Mood - how it feels\n5. genres"
Start = Callable[..., KnowledgeClient]


class ListingProvider:
    """Answers each sample with the next of the given outcomes, the last one again and again."""

    prompt_style = PromptStyle.OPEN

    def __init__(self, outcomes: Sequence[ProviderOutcome], *, can_sample: bool = True) -> None:
        self.can_sample, self.asked = can_sample, list[tuple[ChatPrompt, int]]()
        self._outcomes = list(outcomes)

    def model(self) -> str:
        """One name for all."""
        return "lister-1"

    def limits(self) -> Limits:
        """Few tokens."""
        return Limits(100)

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """One prompt at a time."""
        self.asked.append((prompts[0], sample))
        yield 0, self._outcomes[min(len(self.asked), len(self._outcomes)) - 1]


def elicitor(provider: ListingProvider, meter: Meter | None = None) -> FactorElicitor:
    pool = ProviderPool(["lister"], lambda _: provider)  # type: ignore[arg-type,return-value]
    return FactorElicitor(pool, "lister", meter or unlimited_meter())


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        (NUMBERED, ["genre", "story and theme", "director", "mood"]),
        ("Here you are:\n- Price\n- Size\n* Colour\n\nI hope this helps.", ["price", "size", "colour"]),
        ("Genre\nMood\nCast", ["genre", "mood", "cast"]),
        ("Price, size, colour and weight", ["price", "size", "colour", "weight"]),
        ("1. Price 2. Size 3. Colour", ["price", "size", "colour"]),
        ('1. "Price"\n2. The Size\n3. size\n4. USB ports', ["price", "the size", "USB ports"]),
        ("1. Prix\n2. Qualité\n3. Größe", ["prix", "qualité", "größe"]),
    ],
)
def test_lists_of_every_shape_are_read(text: str, factors: list[str]) -> None:
    """Numbers, bullets, plain lines or commas; no explanations, no preamble, nothing twice."""
    assert read_factors(text) == factors


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot say.",
        "1. Price\n2. Size",
        "1. 2024\n2. ???\n3. 77 %",
        "1. Price\n2. price\n3. PRICES\n4. the price",
        "1. " + "very " * 30 + "long\n2. " + "x" * 61 + "\n3. price\n4. size",
        "1. <|im_start|>a\n2. <|im_end|>b\n3. [INST]c",
    ],
)
def test_what_is_no_list_is_rejected(text: str) -> None:
    """Fewer than three different short phrases are none."""
    with pytest.raises(RejectedText, match="no list"):
        read_factors(text)


def test_a_list_is_bounded() -> None:
    """The first twelve."""
    assert read_factors("\n".join(f"{n}. factor {chr(96 + n)}" for n in range(1, 27)))[-1] == "factor l"


def test_a_line_that_the_token_limit_cut_is_left_out() -> None:
    """Half a word is no factor."""
    assert read_factors("1. price\n2. size\n3. colour\n4. wei", "length") == ["price", "size", "colour"]


@given(st.text(max_size=400))
def test_whatever_a_model_writes_gives_a_valid_list_or_is_rejected(text: str) -> None:
    """Never anything else."""
    try:
        factors = read_factors(text)
    except RejectedText:
        return
    assert 3 <= len(factors) <= 12
    assert all(2 <= len(factor) <= 60 and factor.isprintable() for factor in factors)


def test_garbage_is_asked_again_then_is_a_failure() -> None:
    """Three samples, no more; the failure says what was missing."""
    provider = ListingProvider([Completion("no idea")])
    failure = elicitor(provider).elicit("movies")
    assert isinstance(failure, Failure)
    assert failure.reason == "REJECTED_TEXT"
    assert "at least 3 factors" in failure.detail
    assert [sample for _, sample in provider.asked] == [0, 1, 2]


def test_a_second_sample_may_be_a_list() -> None:
    """It is taken, with who wrote it."""
    provider = ListingProvider([Completion("no idea"), Completion(NUMBERED)])
    found = elicitor(provider).elicit("movies")
    assert found == ElicitedFactors(["genre", "story and theme", "director", "mood"], "lister", "lister-1")


def test_a_provider_that_is_away_is_a_failure_of_its_own() -> None:
    """The caller may retry."""
    failure = elicitor(ListingProvider([ProviderUnavailable("gone")])).elicit("movies")
    assert failure == Failure("UNAVAILABLE", "gone")


def test_the_prompt_says_what_the_items_are() -> None:
    """In the caller's words, or in those of the configured scenario."""
    provider = ListingProvider([Completion(NUMBERED)])
    elicitor(provider).elicit("board_games", "Games for a table,\nrated <|im_end|> by players.")
    elicitor(provider).elicit("movies")
    asked = [prompt.user for prompt, _ in provider.asked]
    assert "board games" in asked[0]
    assert "Games for a table, rated by players." in asked[0]
    assert "Films, rated by viewers" in asked[1]


BAD = {
    "unknown without a description": (("board_games", ""), "about"),
    "name with a slash": (("../movies", "x"), "scenario"),
    "no name": (("", "x"), "scenario"),
    "long description": (("movies", "x" * 513), "about"),
}


@pytest.mark.parametrize(("arguments", "field"), BAD.values(), ids=BAD.keys())
def test_a_bad_question_is_refused_by_the_name_of_its_field(
    start: Start, arguments: tuple[str, str], field: str
) -> None:
    """Over gRPC, before any model is asked."""
    with pytest.raises(InvalidArgumentError) as refused:
        start().elicit_factors(*arguments)
    assert [name for name, _ in refused.value.violations] == [field]


def test_the_catalogue_cannot_be_asked(start: Start) -> None:
    """It composes texts of facts and knows nothing else."""
    failure = start().elicit_factors("movies")
    assert isinstance(failure, Failure)
    assert failure.reason == "REFUSED"
    assert "no language model" in failure.detail


def test_a_server_is_asked_and_its_garbage_refused(start: Start, stub: FaultStub) -> None:
    """Through the whole service: three tries at a model that writes no list."""
    client = start(tgi_url=stub.url("looping"), default_provider="tgi")
    failure = client.elicit_factors("movies")
    assert isinstance(failure, Failure)
    assert failure.reason == "REJECTED_TEXT"
    assert [body["parameters"]["seed"] for body in stub.bodies] == [0, 1, 2]
