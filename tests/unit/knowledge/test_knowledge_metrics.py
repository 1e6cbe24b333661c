"""What the process tells Prometheus."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from knowledge_parts import GOOD_TEXT, ScriptedProvider, asker_over, good, item, pool_of, settings
from pydantic import ValidationError

from services.cli.local_processes import free_port
from services.knowledge.budget import TokenBudget
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import Completion, Provider, ProviderUnavailable
from services.knowledge.store import KnowledgeStore
from services.runtime.metrics import serve_metrics

Make = Callable[[Provider], KnowledgeGenerator]


@pytest.fixture
def metrics() -> KnowledgeMetrics:
    """A million tokens read cost 1, a million written 10."""
    return KnowledgeMetrics(1.0, 10.0)


@pytest.fixture
def make(tmp_path: Path, metrics: KnowledgeMetrics) -> Iterator[Make]:
    """A generator over a scripted provider and the catalogue."""
    store = KnowledgeStore(tmp_path / "knowledge.db")
    yield lambda scripted: KnowledgeGenerator(
        store, pool_of(scripted, "catalogue"), asker_over(store, metrics), metrics, "scripted", "catalogue"
    )
    store.close()


def value(metrics: KnowledgeMetrics, name: str, **labels: str) -> float | None:
    """A sample; None when there is none."""
    return metrics.registry.get_sample_value(f"loreline_knowledge_{name}", labels)


def test_tokens_and_cost_are_told_for_each_scenario(make: Make, metrics: KnowledgeMetrics) -> None:
    """50 tokens read and 31 written an answer; the cost of 1,000 follows."""
    list(make(ScriptedProvider(good)).generate_for_items("movies", [item("1", "One"), item("2", "Two")]))
    assert value(metrics, "tokens_total", scenario="movies", kind="prompt") == 100
    assert value(metrics, "tokens_total", scenario="movies", kind="completion") == 62
    assert value(metrics, "cost_total", scenario="movies") == pytest.approx((100 + 620) / 1e6)
    assert value(metrics, "new_answers_total", scenario="movies") == 2
    assert value(metrics, "cost_per_thousand_items", scenario="movies") == pytest.approx(0.36)


def test_what_was_written_in_vain_is_part_of_the_cost_of_an_answer(make: Make, metrics: KnowledgeMetrics) -> None:
    """Two rejected samples and the fallback: one answer, the tokens of two questions."""
    list(make(ScriptedProvider(lambda *_: Completion("no", 50, 31))).generate_for_items("movies", [item()]))
    assert value(metrics, "new_answers_total", scenario="movies") == 1
    assert value(metrics, "cost_per_thousand_items", scenario="movies") == pytest.approx(0.72)
    assert value(metrics, "questions_total", provider="scripted", outcome="rejected_text") == 2
    assert value(metrics, "questions_total", provider="catalogue", outcome="written") == 1
    assert value(metrics, "fallbacks_total", reason="too short") == 1


def test_suspects_and_failures_are_counted_by_reason(make: Make, metrics: KnowledgeMetrics) -> None:
    """A lie is a suspect twice over, a server that is down a question unanswered."""
    lie = Completion(f"{GOOD_TEXT} The film was released in 1950.", 50, 31)
    list(make(ScriptedProvider(lambda *_: lie)).generate_for_items("movies", [item()]))
    assert value(metrics, "suspects_total", scenario="movies", reason="contradiction") == 2
    assert value(metrics, "fallbacks_total", reason="contradiction") == 1
    down = ScriptedProvider(lambda *_: ProviderUnavailable("down"))
    list(make(down).generate_for_items("movies", [item("2", "Another")]))
    assert value(metrics, "questions_total", provider="scripted", outcome="unavailable") == 1


def test_reused_answers_ask_nothing(make: Make, metrics: KnowledgeMetrics) -> None:
    """And are told apart."""
    generator = make(ScriptedProvider(good))
    for _ in range(3):
        list(generator.generate_for_items("movies", [item()]))
    assert value(metrics, "reused_answers_total", scenario="movies") == 2
    assert value(metrics, "question_seconds_count", provider="scripted") == 1


def test_composed_answers_cost_nothing(make: Make, metrics: KnowledgeMetrics) -> None:
    """They would make the model's answers look cheap."""
    list(make(ScriptedProvider(good)).generate_for_items("movies", [item()], "catalogue"))
    assert value(metrics, "new_answers_total", scenario="movies") is None
    assert value(metrics, "questions_total", provider="catalogue", outcome="written") == 1


def test_the_budget_left_is_told_at_each_scrape(tmp_path: Path, metrics: KnowledgeMetrics) -> None:
    """As Prometheus reads it over HTTP."""
    store, address = KnowledgeStore(tmp_path / "knowledge.db"), f"127.0.0.1:{free_port(0)}"
    budget = TokenBudget(store.database, 1000, {"movies": 400})
    metrics.watch_budget(budget.names, budget.left)
    serve_metrics(metrics.registry, address)
    budget.settle(budget.reserve("movies", 100), 90)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=100) as response:
        told = response.read().decode()
    assert 'loreline_knowledge_budget_left_tokens{scenario="movies"} 310.0' in told
    assert 'loreline_knowledge_budget_left_tokens{scenario="*"} 910.0' in told
    store.close()


@pytest.mark.parametrize("text", ["500", "{movies: 1}", '{"movies": -1}', '{"movies": "many"}'])
def test_budgets_that_are_no_json_object_of_numbers_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """At the start, with the variable's name."""
    monkeypatch.setenv("LORELINE_KNOWLEDGE_SCENARIO_TOKENS_PER_HOUR", text)
    with pytest.raises(ValidationError, match="scenario_tokens_per_hour"):
        settings()


def test_budgets_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator writes them."""
    monkeypatch.setenv("LORELINE_KNOWLEDGE_SCENARIO_TOKENS_PER_HOUR", '{"movies": 500000, "news": 0}')
    assert settings().scenario_tokens_per_hour == {"movies": 500000, "news": 0}
