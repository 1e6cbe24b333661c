"""How answers are looked up, asked, checked, sampled again, replaced and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from knowledge_parts import GOOD_TEXT, ScriptedProvider, asker_over, good, item, pool_of, user

from loreline.client.knowledge import Answer
from loreline.domain import Knowledge
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt
from services.knowledge.providers import (
    Completion,
    Provider,
    ProviderOutcome,
    ProviderRefused,
    ProviderUnavailable,
)
from services.knowledge.store import KnowledgeStore
from services.runtime.errors import NotFound

LOOPING = Completion("love and loss and " * 12, 50, 64, "stop")
Generate = Callable[..., KnowledgeGenerator]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KnowledgeStore]:
    opened = KnowledgeStore(tmp_path / "knowledge.db")
    yield opened
    opened.close()


@pytest.fixture
def generator(store: KnowledgeStore) -> Generate:
    """A generator over scripted providers, with the real catalogue as fallback."""

    def make(scripted: Provider, fallback: str = "catalogue") -> KnowledgeGenerator:
        pool = pool_of(scripted, "catalogue", "tgi")
        return KnowledgeGenerator(store, pool, asker_over(store), KnowledgeMetrics(), "scripted", fallback)

    return make


def written(answer: Answer) -> Knowledge:
    """The answer's knowledge."""
    assert answer.knowledge is not None, answer.failure
    return answer.knowledge


@dataclass
class Clock:
    """A moment that the test sets."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Healing:
    """A model that writes nonsense until it is healed, or does not answer at all."""

    healed: bool = False
    outage: bool = False

    def __call__(self, prompt: Prompt, sample: int) -> ProviderOutcome:
        if self.outage:
            return ProviderUnavailable("down")
        return good(prompt, sample) if self.healed else LOOPING


def reason(answer: Answer) -> str:
    """The answer's failure."""
    assert answer.failure is not None
    return answer.failure.reason


def test_the_same_question_is_never_asked_twice(generator: Generate) -> None:
    """The second answer is the stored one and says so."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    first, again = (list(knowledge.generate_for_items("movies", [item()])) for _ in range(2))
    assert [first[0].reused, again[0].reused] == [False, True]
    assert written(first[0]) == written(again[0])
    assert provider.asked == [("1", 0)]


def test_changed_facts_are_a_new_question(generator: Generate) -> None:
    """An item whose attributes changed gets new knowledge, and that is the newest."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    list(knowledge.generate_for_items("movies", [item(year=1994)]))
    changed = list(knowledge.generate_for_items("movies", [item(year=1995)]))
    assert len(provider.asked) == 2
    assert knowledge.item_knowledge("1") == written(changed[0])


def test_a_restart_asks_nothing_again(generator: Generate) -> None:
    """Another generator over the same file answers without the model."""
    list(generator(ScriptedProvider(good)).generate_for_items("movies", [item()]))
    later = ScriptedProvider(good)
    assert next(generator(later).generate_for_items("movies", [item()])).reused
    assert later.asked == []


def test_equal_items_of_one_batch_share_one_question(generator: Generate) -> None:
    """Two ids with the same facts: one question, two answers, both readable."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    answers = list(knowledge.generate_for_items("movies", [item("1"), item("2")]))
    assert sorted(answer.subject_id for answer in answers) == ["1", "2"]
    assert sorted(answer.reused for answer in answers) == [False, True]
    assert len(provider.asked) == 1
    assert knowledge.item_knowledge("1") == knowledge.item_knowledge("2")


def test_concurrent_requests_share_one_call(generator: Generate) -> None:
    """While one call asks, the others wait for its answer."""
    asked, proceed = threading.Event(), threading.Event()

    def slow(_prompt: Prompt, _sample: int) -> ProviderOutcome:
        asked.set()
        proceed.wait(100)
        return Completion(GOOD_TEXT)

    provider = ScriptedProvider(slow)
    knowledge = generator(provider)
    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(lambda: list(knowledge.generate_for_items("movies", [item()]))) for _ in range(6)]
        assert asked.wait(100)
        proceed.set()
        answers = [run.result(100)[0] for run in runs]
    assert len(provider.asked) == 1
    assert len({written(answer).provenance.created_time for answer in answers}) == 1
    assert sorted(answer.reused for answer in answers) == [False] + [True] * 5


def test_a_waiting_call_takes_over_what_another_gave_up(generator: Generate) -> None:
    """When the call that asks is abandoned, one of those that wait asks instead."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    abandoned = knowledge.generate_for_items("movies", [item("1", "First"), item("2", "Second")])
    next(abandoned)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(knowledge.generate_for_items("movies", [item("1", "First")])))
        threading.Event().wait(0.2)
        abandoned.close()
        answers = waiting.result(100)
    assert written(answers[0]).text == GOOD_TEXT
    assert provider.asked == [("2", 0), ("1", 0)]


def test_an_unwanted_call_stops_waiting(generator: Generate) -> None:
    """A caller that went away does not hold a thread while another call asks."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    owner = knowledge.generate_for_items("movies", [item("1", "First"), item("2", "Second")])
    next(owner)
    wanted = iter([True, True, False, False])
    waiting = knowledge.generate_for_items("movies", [item("1", "First")], is_wanted=lambda: next(wanted))
    assert list(waiting) == []
    owner.close()


def test_a_rejected_text_is_sampled_once_more(generator: Generate) -> None:
    """The second sample is kept, with the parameters that made it."""
    provider = ScriptedProvider(lambda _, sample: Completion(GOOD_TEXT, 5, 6, "stop") if sample else LOOPING)
    answer = next(generator(provider).generate_for_items("movies", [item()]))
    assert provider.asked == [("1", 0), ("1", 1)]
    provenance = written(answer).provenance
    assert (provenance.provider, provenance.fallback_reason) == ("scripted", "")
    assert provenance.parameters_json == '{"seed":1}'
    assert (provenance.prompt_tokens, provenance.completion_tokens) == (5, 6)


def test_a_text_rejected_twice_is_written_by_the_fallback(generator: Generate) -> None:
    """The provenance says who wrote it and why."""
    provider = ScriptedProvider(lambda *_: LOOPING)
    knowledge = generator(provider)
    answer = next(knowledge.generate_for_items("movies", [item()]))
    provenance = written(answer).provenance
    assert provenance.provider == "catalogue"
    assert provenance.model == "template"
    assert "looping" in provenance.fallback_reason
    assert "Night Train" in written(answer).text
    assert next(knowledge.generate_for_items("movies", [item()])).reused
    assert len(provider.asked) == 2


class TestFallback:
    """What the fallback wrote stands in for the model, and not for good."""

    def test_the_model_is_asked_again_after_a_while(self, store: KnowledgeStore) -> None:
        """Its text takes the other's place, and is not asked for any more."""
        clock, script = Clock(), Healing()
        provider = ScriptedProvider(script)
        knowledge = self.generator(store, provider, clock)
        assert self.text(knowledge) != GOOD_TEXT
        script.healed = True
        clock.moment += timedelta(minutes=59)
        assert self.text(knowledge) != GOOD_TEXT
        clock.moment += timedelta(minutes=2)
        assert self.text(knowledge) == GOOD_TEXT
        asked = len(provider.asked)
        clock.moment += timedelta(days=1)
        assert self.text(knowledge) == GOOD_TEXT
        assert len(provider.asked) == asked

    def test_it_stays_while_the_model_does_not_answer(self, store: KnowledgeStore) -> None:
        """An outage takes no text away."""
        clock, script = Clock(), Healing()
        knowledge = self.generator(store, ScriptedProvider(script), clock)
        first = self.text(knowledge)
        script.outage = True
        clock.moment += timedelta(hours=2)
        assert self.text(knowledge) == first

    @staticmethod
    def generator(store: KnowledgeStore, provider: ScriptedProvider, clock: Clock) -> KnowledgeGenerator:
        pool = pool_of(provider, "catalogue")
        return KnowledgeGenerator(
            store, pool, asker_over(store), KnowledgeMetrics(), "scripted", "catalogue", now=lambda: clock.moment
        )

    @staticmethod
    def text(knowledge: KnowledgeGenerator) -> str:
        return written(next(knowledge.generate_for_items("movies", [item()]))).text


def test_content_that_changes_back_has_its_first_answer_again(generator: Generate) -> None:
    """Without a question: A, B, and A once more."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    first, _, again = (next(knowledge.generate_for_items("movies", [item(year=year)])) for year in (1994, 1995, 1994))
    assert knowledge.item_knowledge("1") == written(first) == written(again)
    assert len(provider.asked) == 2


def test_a_provider_that_cannot_sample_is_not_asked_again(generator: Generate) -> None:
    """The same text would come."""
    provider = ScriptedProvider(lambda *_: LOOPING, can_sample=False)
    next(generator(provider).generate_for_items("movies", [item()]))
    assert provider.asked == [("1", 0)]


def test_without_fallback_a_rejected_text_is_a_failure(generator: Generate) -> None:
    """And a failure is not kept: the next request asks again."""
    provider = ScriptedProvider(lambda *_: LOOPING)
    knowledge = generator(provider, fallback="")
    answers = [next(knowledge.generate_for_items("movies", [item()])) for _ in range(2)]
    assert [reason(answer) for answer in answers] == ["REJECTED_TEXT"] * 2
    assert len(provider.asked) == 4
    with pytest.raises(NotFound):
        knowledge.item_knowledge("1")


def test_a_fallback_that_cannot_be_built_is_told(generator: Generate) -> None:
    """Both reasons stand in the failure."""
    answer = next(generator(ScriptedProvider(lambda *_: LOOPING), "tgi").generate_for_items("movies", [item()]))
    assert reason(answer) == "REJECTED_TEXT"
    assert answer.failure is not None
    assert "looping" in answer.failure.detail
    assert "LORELINE_KNOWLEDGE_TGI_URL" in answer.failure.detail


@pytest.mark.parametrize(
    ("error", "expected"), [(ProviderUnavailable("down"), "UNAVAILABLE"), (ProviderRefused("too long"), "REFUSED")]
)
def test_a_provider_that_gives_no_text_is_not_replaced(
    generator: Generate, error: ProviderOutcome, expected: str
) -> None:
    """The caller can ask again: no fallback, nothing kept, no second sample."""
    provider = ScriptedProvider(lambda *_: error)
    knowledge = generator(provider)
    answer = next(knowledge.generate_for_items("movies", [item()]))
    assert reason(answer) == expected
    assert provider.asked == [("1", 0)]
    with pytest.raises(NotFound):
        knowledge.item_knowledge("1")


def test_a_second_sample_that_does_not_come_is_a_failure(generator: Generate) -> None:
    """The model is down by now, so a retry is welcome: it is not replaced."""
    provider = ScriptedProvider(lambda _, sample: ProviderUnavailable("down") if sample else LOOPING)
    assert reason(next(generator(provider).generate_for_items("movies", [item()]))) == "UNAVAILABLE"


def test_a_provider_that_cannot_be_built_fails_every_item(generator: Generate) -> None:
    """One failure for each, and the call itself goes on."""
    knowledge = generator(ScriptedProvider(good))
    answers = list(knowledge.generate_for_items("movies", [item("1"), item("2", "Other")], "tgi"))
    assert [(answer.subject_id, reason(answer)) for answer in answers] == [("1", "UNAVAILABLE"), ("2", "UNAVAILABLE")]


def test_a_batch_has_one_answer_for_each_item_whatever_became_of_the_others(generator: Generate) -> None:
    """Good, rejected, refused and unavailable side by side, from a provider that answers in reverse."""

    def mixed(prompt: Prompt, sample: int) -> ProviderOutcome:
        outcomes: dict[str, ProviderOutcome] = {
            "2": LOOPING,
            "3": ProviderRefused("long"),
            "4": ProviderUnavailable("down"),
        }
        return outcomes.get(prompt.subject_id, good(prompt, sample))

    batch = [item(str(number), f"Film {number}") for number in range(1, 6)]
    answers = {a.subject_id: a for a in generator(ScriptedProvider(mixed)).generate_for_items("movies", batch)}
    assert sorted(answers) == ["1", "2", "3", "4", "5"]
    assert written(answers["1"]).text == written(answers["5"]).text == GOOD_TEXT
    assert written(answers["2"]).provenance.provider == "catalogue"
    assert [reason(answers[number]) for number in "34"] == ["REFUSED", "UNAVAILABLE"]


def test_answers_come_as_they_are_ready(generator: Generate) -> None:
    """The first answer does not wait for the last."""
    provider = ScriptedProvider(good)
    answers = generator(provider).generate_for_items("movies", [item("1", "First"), item("2", "Second")])
    assert next(answers).subject_id == "2"
    assert provider.asked == [("2", 0)]
    assert next(answers).subject_id == "1"


def test_users_get_knowledge_of_their_history(generator: Generate) -> None:
    """A longer history is a new question; an equal one is not."""
    provider = ScriptedProvider(good)
    knowledge = generator(provider)
    for ratings in ([5, 4], [5, 4], [5, 4, 2]):
        list(knowledge.generate_for_users("movies", [user(ratings=ratings)]))
    assert len(provider.asked) == 2
    assert knowledge.user_knowledge("7").text == GOOD_TEXT


def test_a_cut_text_keeps_whole_sentences_and_says_length(generator: Generate) -> None:
    """The finish reason stays in the provenance."""
    provider = ScriptedProvider(lambda *_: Completion(GOOD_TEXT + " And the", 50, 64, "length"))
    knowledge = written(next(generator(provider).generate_for_items("movies", [item()])))
    assert (knowledge.text, knowledge.provenance.finish_reason) == (GOOD_TEXT, "length")
