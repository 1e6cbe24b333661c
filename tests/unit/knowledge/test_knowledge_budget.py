"""Tokens an hour: what is admitted, what a restart remembers, and what never costs anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from knowledge_parts import ScriptedProvider, asker_over, good, item, pool_of
from test_knowledge_elicitation import NUMBERED, ListingProvider, elicitor

from loreline.client import Failure, KnowledgeClient
from services.knowledge.budget import ALL, BudgetSpent, TokenBudget
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metering import Meter
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt, PromptStyle, render
from services.knowledge.providers import Completion, ProviderUnavailable
from services.knowledge.store import KnowledgeStore
from services.knowledge.tokens import estimated_tokens
from services.runtime.sqlite_file import SqliteFile
from services.scenarios import load_scenario
from tests.language_model_stub import FaultStub

Start = Callable[..., KnowledgeClient]
HOUR = 3600.0


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(tmp_path / "knowledge.db", "the knowledge store")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(budget: TokenBudget, scenario: str, tokens: int) -> None:
    """Reserve and settle so many."""
    budget.settle(budget.reserve(scenario, tokens), tokens)


def test_a_spent_budget_admits_nothing_until_the_hour_has_slid_on(database: SqliteFile, clock: Clock) -> None:
    """By whole minutes: what was spent first is free first."""
    budget = TokenBudget(database, 100, {}, clock)
    spend(budget, "movies", 60)
    clock.now += HOUR / 2
    spend(budget, "books", 40)
    with pytest.raises(BudgetSpent, match="100 tokens an hour of all scenarios has 0 left"):
        budget.reserve("movies", 1)
    clock.now += HOUR / 2
    assert budget.left(ALL) == 60
    budget.reserve("movies", 60)


def test_a_scenario_has_a_budget_of_its_own(database: SqliteFile, clock: Clock) -> None:
    """Within that of all."""
    budget = TokenBudget(database, 100, {"movies": 50}, clock)
    spend(budget, "movies", 50)
    with pytest.raises(BudgetSpent, match="50 tokens an hour of the scenario movies"):
        budget.reserve("movies", 1)
    budget.reserve("books", 50)
    with pytest.raises(BudgetSpent, match="all scenarios"):
        budget.reserve("music", 1)


def test_a_restart_does_not_forget_what_was_spent(tmp_path: Path, clock: Clock) -> None:
    """Spending is kept in the file; reservations die with the process that held them."""
    first = SqliteFile(tmp_path / "knowledge.db", "the knowledge store")
    budget = TokenBudget(first, 100, {}, clock)
    spend(budget, "movies", 70)
    budget.reserve("movies", 20)
    assert budget.left(ALL) == 10
    first.close()
    second = SqliteFile(tmp_path / "knowledge.db", "the knowledge store")
    assert TokenBudget(second, 100, {}, clock).left(ALL) == 30
    second.close()


def test_a_reservation_is_given_back_for_what_was_really_spent(database: SqliteFile, clock: Clock) -> None:
    """Less or more than the estimate."""
    budget = TokenBudget(database, 100, {}, clock)
    held = budget.reserve("movies", 90)
    with pytest.raises(BudgetSpent):
        budget.reserve("movies", 20)
    budget.settle(held, 30)
    assert budget.left(ALL) == 70


def test_questions_at_once_cannot_reserve_more_than_there_is(database: SqliteFile) -> None:
    """Of forty threads that want 10 of 100 tokens, ten are admitted."""
    budget = TokenBudget(database, 100, {})

    def admitted(_: int) -> bool:
        try:
            budget.reserve("movies", 10)
        except BudgetSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(admitted, range(40))) == 10


def test_a_question_larger_than_the_budget_is_asked_when_nothing_was_spent(database: SqliteFile) -> None:
    """Or it would wait for ever; a budget of 0 asks nothing at all."""
    budget = TokenBudget(database, 100, {"music": 0})
    budget.reserve("movies", 500)
    with pytest.raises(BudgetSpent):
        budget.reserve("movies", 1)
    with pytest.raises(BudgetSpent):
        budget.reserve("music", 1)


def test_without_limits_everything_is_admitted(database: SqliteFile) -> None:
    """Unset means no limit."""
    budget = TokenBudget(database, None, {})
    spend(budget, "movies", 10**9)
    budget.reserve("movies", 10**9)
    assert budget.names == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KnowledgeStore]:
    opened = KnowledgeStore(tmp_path / "answers.db")
    yield opened
    opened.close()


def test_over_budget_no_model_is_asked_and_stored_answers_still_come(store: KnowledgeStore) -> None:
    """The failure says that a retry later may succeed; composing of facts goes on."""
    provider = ScriptedProvider(good)
    asker = asker_over(store, total=1000)
    generator = KnowledgeGenerator(store, pool_of(provider, "catalogue"), asker, KnowledgeMetrics(), "scripted", "")
    films = [item(str(number), f"Film {number}") for number in range(20)]
    answers = list(generator.generate_for_items("movies", films))
    failures = [answer.failure.reason for answer in answers if answer.failure]
    asked = len(provider.asked)
    assert 0 < asked < 20
    assert failures == ["BUDGET_SPENT"] * (20 - asked)
    known = [film for film in films if film.item_id in {subject for subject, _ in provider.asked}]
    assert all(answer.reused for answer in generator.generate_for_items("movies", known))
    assert len(provider.asked) == asked
    assert all(answer.knowledge for answer in generator.generate_for_items("movies", films, "catalogue"))


def test_an_abandoned_batch_gives_its_reservations_back(store: KnowledgeStore) -> None:
    """A caller that went away holds no tokens."""
    provider = ScriptedProvider(good)
    budget = TokenBudget(store.database, 10_000, {})
    meter = Meter(budget, KnowledgeMetrics())
    prompts = _prompts(5)
    put = meter.outcomes("scripted", provider, "movies", prompts, 0)
    next(put)
    put.close()
    assert budget.left(ALL) == 10_000 - 81


def test_a_failed_question_costs_nothing(store: KnowledgeStore) -> None:
    """No server says what a failed try cost."""
    budget = TokenBudget(store.database, 10_000, {})
    meter = Meter(budget, KnowledgeMetrics())
    provider = ScriptedProvider(lambda *_: ProviderUnavailable("down"))
    assert len(list(meter.outcomes("scripted", provider, "movies", _prompts(3), 0))) == 3
    assert budget.left(ALL) == 10_000


def test_a_server_that_counts_no_tokens_is_charged_the_estimate(store: KnowledgeStore) -> None:
    """TGI's /generate does not say how long the prompt was."""
    budget = TokenBudget(store.database, 10_000, {})
    provider = ScriptedProvider(lambda *_: Completion("some words", 0, 7))
    list(Meter(budget, KnowledgeMetrics()).outcomes("scripted", provider, "movies", _prompts(1), 0))
    assert 10_000 - budget.left(ALL) > 7 + estimated_tokens(_prompts(1)[0].user)


def test_elicited_factors_are_paid_from_the_same_budget(store: KnowledgeStore) -> None:
    """A person's question is a question."""
    budget = TokenBudget(store.database, 0, {})
    provider = ListingProvider([Completion(NUMBERED)])
    result = elicitor(provider, Meter(budget, KnowledgeMetrics())).elicit("movies")
    assert isinstance(result, Failure)
    assert result.reason == "BUDGET_SPENT"
    assert provider.asked == []


def test_a_spent_budget_reaches_the_caller(start: Start, stub: FaultStub) -> None:
    """Through the whole service, and the server sees no call."""
    client = start(tgi_url=stub.url("ok"), default_provider="tgi", scenario_tokens_per_hour={"movies": 0})
    answer = next(client.generate_for_items("movies", [item()]))
    assert answer.failure is not None
    assert answer.failure.reason == "BUDGET_SPENT"
    assert stub.bodies == []
    assert next(client.generate_for_items("movies", [item()], "catalogue")).knowledge is not None


def _prompts(count: int) -> list[Prompt]:
    movies = load_scenario("movies")
    return [render(item(str(number), f"Film {number}"), movies, PromptStyle.OPEN) for number in range(count)]
