"""Prompts that a model's limit cuts: what goes, what stays, and what is too long all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from knowledge_parts import ScriptedProvider, asker_over, good, item, pool_of, user

from loreline.domain import Cluster, HistoryEntry, Item
from services.knowledge.fitting import render_within
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt, PromptStyle, Subject, answer_key, render
from services.knowledge.providers import PromptTooLong, ProviderOutcome
from services.knowledge.store import KnowledgeStore
from services.knowledge.tokens import estimated_prompt_tokens, estimated_tokens
from services.scenarios import load_scenario

MOVIES = load_scenario("movies")
PLOT = "Two strangers share a compartment and talk until the morning comes. " * 12


def tokens(subject: Subject) -> int:
    """Estimated tokens of the whole prompt."""
    return estimated_prompt_tokens(render(subject, MOVIES, PromptStyle.OPEN))


def test_a_prompt_within_the_limit_is_not_touched() -> None:
    """To the last token."""
    film = item(plot=PLOT)
    assert render_within(film, MOVIES, PromptStyle.OPEN, tokens(film)) == render(film, MOVIES, PromptStyle.OPEN)
    assert render_within(film, MOVIES, PromptStyle.OPEN, None) == render(film, MOVIES, PromptStyle.OPEN)


def test_the_oldest_entries_of_a_history_go_first() -> None:
    """The newest stay, in order, as many as fit."""
    viewer = user(ratings=[5, 4, 2] * 100)
    limit = tokens(user(ratings=[5, 4, 2] * 10))
    cut = render_within(viewer, MOVIES, PromptStyle.OPEN, limit)
    whole = render(viewer, MOVIES, PromptStyle.OPEN)
    told = [line for line in cut.user.splitlines() if line.startswith('"')]
    assert 25 < len(told) < 40
    assert whole.user.endswith("\n".join(told[1:])) or whole.user.split()[-20:] == cut.user.split()[-20:]
    assert (cut.system, cut.subject) == (whole.system, viewer)
    assert estimated_prompt_tokens(cut) <= limit


def test_the_middle_of_a_cluster_stays() -> None:
    """Its entries come from the middle outwards."""
    entries = [HistoryEntry(item(str(number), f"Film {number}")) for number in range(60)]
    group = Cluster("7", "item", entries)
    cut = render_within(group, MOVIES, PromptStyle.OPEN, tokens(Cluster("7", "item", entries[:20])))
    assert '"Film 0"' in cut.user
    assert '"Film 19"' in cut.user
    assert '"Film 20"' not in cut.user


def test_the_longest_texts_are_cut_at_a_word_and_short_ones_stay() -> None:
    """Instructions and title too."""
    film = item(plot=PLOT, review=PLOT[:400], genres=["Drama", "Romance"], year=1994)
    limit = tokens(film) - 100
    cut = render_within(film, MOVIES, PromptStyle.OPEN, limit)
    whole = render(film, MOVIES, PromptStyle.OPEN)
    lines = dict(line.split(": ", 1) for line in cut.user.splitlines() if line.startswith(("plot", "review", "genres")))
    assert len(lines["plot"]) < len(PLOT.strip())
    assert PLOT.startswith(lines["plot"] + " ")
    assert (lines["review"], lines["genres"]) == (PLOT[:400].strip(), "Drama, Romance")
    assert cut.user.splitlines()[:3] == whole.user.splitlines()[:3]
    assert "Night Train" in cut.user
    assert cut.system == whole.system


def test_what_is_too_long_with_everything_cut_is_said_so() -> None:
    """Instructions and title alone are over the limit."""
    with pytest.raises(PromptTooLong, match="over 40 tokens"):
        render_within(item(plot=PLOT), MOVIES, PromptStyle.OPEN, 40)
    with pytest.raises(PromptTooLong):
        render_within(user(), MOVIES, PromptStyle.OPEN, 40)


def test_facts_are_never_cut() -> None:
    """No model reads them."""
    film = item(plot=PLOT)
    assert render_within(film, MOVIES, PromptStyle.FACTS, 10) == render(film, MOVIES, PromptStyle.FACTS)


def test_the_cut_is_part_of_the_key() -> None:
    """A server that reads more gives another answer."""
    film = item(plot=PLOT)
    keys = {
        answer_key(render_within(film, MOVIES, PromptStyle.OPEN, limit), "tgi", "m", {})
        for limit in (tokens(film), tokens(film) - 100, tokens(film) - 50)
    }
    assert len(keys) == 3


@given(st.integers(0, 600), st.lists(st.text(max_size=300), max_size=5))
def test_a_prompt_either_fits_or_is_refused(limit: int, texts: list[str]) -> None:
    """Whatever the attributes hold."""
    film = Item("1", "movies", "Night Train", {f"text{number}": text for number, text in enumerate(texts)})
    try:
        prompt = render_within(film, MOVIES, PromptStyle.OPEN, limit)
    except PromptTooLong:
        assert tokens(Item("1", "movies", "Night Train")) > limit
    else:
        assert estimated_prompt_tokens(prompt) <= limit


def test_estimates_are_above_what_tokenizers_count() -> None:
    """A byte-level tokenizer has at most a token a byte, and about a token for four English letters."""
    assert estimated_tokens("a" * 30) == 10
    assert estimated_tokens("1994, 12.50!") == 12 - 1 + 1
    assert estimated_tokens("列車") == 6


@pytest.fixture
def generate(tmp_path: Path) -> Iterator[Callable[..., KnowledgeGenerator]]:
    store = KnowledgeStore(tmp_path / "knowledge.db")
    yield lambda provider: KnowledgeGenerator(
        store, pool_of(provider), asker_over(store), KnowledgeMetrics(), "scripted", ""
    )
    store.close()


def test_one_item_that_is_too_long_fails_by_itself(generate: Callable[..., KnowledgeGenerator]) -> None:
    """With TOO_LONG; the model is not asked about it, and the others get their answers."""
    provider = ScriptedProvider(good)
    provider.prompt_tokens = tokens(item(year=1994))
    long = item("2", "A Very Long Title " * 28)
    answers = {a.subject_id: a for a in generate(provider).generate_for_items("movies", [item(year=1994), long])}
    assert answers["1"].knowledge is not None
    assert answers["2"].failure is not None
    assert answers["2"].failure.reason == "TOO_LONG"
    assert provider.asked == [("1", 0)]


def test_what_the_server_calls_too_long_is_asked_again_with_less_of_it(
    generate: Callable[..., KnowledgeGenerator],
) -> None:
    """Though nobody said before how much it reads; the answer is found under the whole prompt's key."""
    most = tokens(item("1")) + 60

    def strict(prompt: Prompt, sample: int) -> ProviderOutcome:
        return PromptTooLong("over the limit") if estimated_prompt_tokens(prompt) > most else good(prompt, sample)

    provider = ScriptedProvider(strict)
    short, long = item("1"), item("2", plot=PLOT)
    answers = {a.subject_id: a for a in generate(provider).generate_for_items("movies", [short, long])}
    assert {subject_id: a.failure for subject_id, a in answers.items()} == {"1": None, "2": None}
    assert sorted(provider.asked) == [("1", 0), ("2", 0), ("2", 0), ("2", 0)]
    [again] = generate(provider).generate_for_items("movies", [long])
    assert again.reused
    assert len(provider.asked) == 4


def test_what_is_too_long_for_the_server_with_everything_cut_fails(generate: Callable[..., KnowledgeGenerator]) -> None:
    """After as many tries as there was something to cut."""
    provider = ScriptedProvider(lambda prompt, sample: PromptTooLong("over the limit"))
    [answer] = generate(provider).generate_for_items("movies", [item(plot=PLOT)])
    assert answer.failure is not None
    assert answer.failure.reason == "TOO_LONG"
    assert 1 < len(provider.asked) < 10
