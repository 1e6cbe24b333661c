"""The catalogue provider: deterministic texts of given facts alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from knowledge_parts import item, settings, user

from loreline.domain import HistoryEntry, Item, UserHistory
from services.knowledge.prompts import PromptStyle, clean_text, render
from services.knowledge.providers import Completion, build_provider
from services.knowledge.providers.catalogue import compose, join
from services.knowledge.tastes import summarise
from services.knowledge.text_checks import accept
from services.scenarios import load_scenario

MOVIES = load_scenario("movies")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30).filter(str.strip)
VALUES = st.one_of(WORDS, st.lists(WORDS, max_size=4), st.floats(-1e6, 1e6), st.none())
YEARS = st.one_of(st.integers(1800, 2100), st.just("unknown"), st.none())
NAMES = ["genres", "director", "keywords", "runtime", "language", "studio"]
ATTRIBUTES = st.fixed_dictionaries({}, optional={"year": YEARS} | dict.fromkeys(NAMES, VALUES))
ITEMS = st.builds(Item, item_id=st.just("1"), scenario=st.just("movies"), title=WORDS, attributes=ATTRIBUTES)


@given(ITEMS)
def test_every_item_gets_a_text_that_passes_the_checks(subject: Item) -> None:
    """Whatever the catalogue holds, the default provider has an answer that is kept."""
    text = compose(subject, MOVIES)
    prompt = render(subject, MOVIES, PromptStyle.FACTS)
    assert accept(text, prompt, "stop")
    assert clean_text(subject.title) in text
    assert text == compose(subject, MOVIES)


@given(ITEMS)
def test_no_name_or_number_is_invented(subject: Item) -> None:
    """Every quoted title, capitalised word and number of the text occurs in the item."""
    text = compose(subject, MOVIES)
    facts = f"{subject.title} {dict(subject.attributes)} {render(subject, MOVIES, PromptStyle.OPEN).user}"
    said = set(re.findall(r"[A-Z][a-z]+|\d+", text)) - {"Its", "It", "The", "Nothing"}
    decades = {word[:-1] + "0" for word in re.findall(r"\d+", facts)}
    assert {word for word in said if word not in facts} <= decades


def test_an_item_text_names_all_of_its_facts() -> None:
    """Nothing that is known is left out."""
    text = compose(item(genres=["Drama", "Romance"], year=1994, director="Ada Lang"), MOVIES)
    assert all(fact in text for fact in ("Night Train", "Drama", "Romance", "1994", "the 1990s", "Ada Lang"))


def test_a_value_that_is_a_sentence_ends_with_one_full_stop() -> None:
    """As plots do."""
    text = compose(item(plot="Two strangers meet on a train."), MOVIES)
    assert "as Two strangers meet on a train. " in text


def test_an_item_of_many_attributes_is_kept() -> None:
    """Composed sentences are alike; that is no model that loops."""
    subject = item(**{f"attribute{number}": f"value{number}" for number in range(12)})
    text = compose(subject, MOVIES)
    assert accept(text, render(subject, MOVIES, PromptStyle.FACTS), "stop") == text


def test_a_user_text_says_likes_and_dislikes() -> None:
    """What the ratings show is said with its numbers."""
    text = compose(user(ratings=[5, 4, 2, 5, 4, 1]), MOVIES)
    assert "favour (times seen, mean rating) Drama (4, 4.5)" in text
    assert "think less of (times seen, mean rating) Action (2, 1.5)" in text
    assert '"Night Train"' in text
    assert "librarian" in text


def test_a_user_without_ratings_gets_a_text_without_them() -> None:
    """No mean is made up."""
    text = compose(user(ratings=[None, None]), MOVIES)
    assert "none of them rated" in text
    assert accept(text, render(user(ratings=[None, None]), MOVIES, PromptStyle.FACTS), "stop") == text


@given(st.lists(st.tuples(ITEMS, st.one_of(st.none(), st.floats(1, 5))), min_size=1, max_size=8))
def test_every_user_gets_a_text_that_passes_the_checks(history: list[tuple[Item, float | None]]) -> None:
    """Also for odd titles and few entries."""
    subject = UserHistory("7", [HistoryEntry(film, rating) for film, rating in history])
    assert accept(compose(subject, MOVIES), render(subject, MOVIES, PromptStyle.FACTS), "stop")


def test_tastes_weigh_by_support_and_distance() -> None:
    """What was seen often and liked much comes first; a value seen once says little."""
    tastes = summarise(user(ratings=[5, 4, 2, 5, 4, 1]), MOVIES)
    assert tastes.likes["genre"] == ["Drama", "Romance"]
    assert tastes.dislikes["genre"] == ["Action"]
    assert tastes.best_titles[0] == "Night Train"
    assert tastes.worst_titles == ["Loud Planet", "Loud Planet"]
    assert tastes.mean_rating == pytest.approx(3.5)


def test_tastes_of_unrated_histories_go_by_frequency() -> None:
    """Without ratings, frequent values are liked and none is disliked."""
    tastes = summarise(user(ratings=[None] * 4), MOVIES)
    assert tastes.likes["genre"] == ["Drama", "Romance"]
    assert tastes.dislikes["genre"] == []


def test_the_provider_asks_no_model_and_answers_in_order() -> None:
    """Tokens are 0, and the answers are the composition's."""
    provider = build_provider("catalogue", settings())
    prompts = [render(item(str(n), f"Night Train {n}"), MOVIES, provider.prompt_style) for n in range(3)]
    outcomes = list(provider.generate(prompts, 0))
    assert outcomes == [(n, Completion(compose(prompt.subject, MOVIES))) for n, prompt in enumerate(prompts)]
    assert not provider.can_sample


@pytest.mark.parametrize(
    ("values", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists_read_as_a_reader_writes_them(values: list[str], expected: str) -> None:
    """Commas, and one `and`."""
    assert join(values) == expected
