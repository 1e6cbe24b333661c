"""What the knowledge process tells Prometheus. Every name is here; docs/operating.md says what each means."""

from __future__ import annotations

import threading
from collections import Counter as Sums
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
PRICED_TOKENS = 1_000_000


class KnowledgeMetrics:
    """The process' metrics in a registry of their own. Prices are for a million tokens, in any one currency."""

    def __init__(self, prompt_price: float = 0.0, completion_price: float = 0.0) -> None:
        self.registry = CollectorRegistry()
        self._prices = {"prompt": prompt_price, "completion": completion_price}
        self._sums, self._lock = Sums[tuple[str, str]](), threading.Lock()
        self.questions = Counter(
            "loreline_knowledge_questions", "Questions put to providers, by what came of them.",
            ["provider", "outcome"], registry=self.registry,
        )  # fmt: skip
        self.question_seconds = Histogram(
            "loreline_knowledge_question_seconds", "From putting a batch of questions until the answer to one of them.",
            ["provider"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "loreline_knowledge_tokens", "Tokens of language models; kind is prompt or completion.",
            ["scenario", "kind"], registry=self.registry,
        )  # fmt: skip
        self.cost = Counter(
            "loreline_knowledge_cost", "Price of the tokens, in the currency of the settings.", ["scenario"],
            registry=self.registry,
        )  # fmt: skip
        self.new_answers = Counter(
            "loreline_knowledge_new_answers", "Answers that language models were asked for, kept for the first time.",
            ["scenario"], registry=self.registry,
        )  # fmt: skip
        self.cost_of_thousand = Gauge(
            "loreline_knowledge_cost_per_thousand_items", "Cost of 1,000 new answers since the process started.",
            ["scenario"], registry=self.registry,
        )  # fmt: skip
        self.reused = Counter(
            "loreline_knowledge_reused_answers", "Answers given without asking.", ["scenario"], registry=self.registry
        )
        self.suspects = Counter(
            "loreline_knowledge_suspects", "Texts that were set aside.", ["scenario", "reason"], registry=self.registry
        )
        self.fallbacks = Counter(
            "loreline_knowledge_fallbacks", "Answers left to the fallback provider, by the check that failed.",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        self.budget_left = Gauge(
            "loreline_knowledge_budget_left_tokens", "Tokens left of an hour's budget; scenario * is all of them.",
            ["scenario"], registry=self.registry,
        )  # fmt: skip
        self.breaker_open = Gauge(
            "loreline_knowledge_breaker_open", "1 while a failing server is left alone.", ["provider"],
            registry=self.registry,
        )  # fmt: skip

    def spent(self, scenario: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count the tokens of one question and what they cost."""
        counted = {"prompt": prompt_tokens, "completion": completion_tokens}
        for kind, number in counted.items():
            self.tokens.labels(scenario, kind).inc(number)
        cost = sum(number * self._prices[kind] for kind, number in counted.items()) / PRICED_TOKENS
        self.cost.labels(scenario).inc(cost)
        self._add(scenario, "cost", cost)

    def answered(self, scenario: str) -> None:
        """Count an answer that is new."""
        self.new_answers.labels(scenario).inc()
        self._add(scenario, "answers", 1)

    def watch_budget(self, names: Iterable[str], left: Callable[[str], int]) -> None:
        """Tell at each scrape what is left of the budgets."""
        for name in names:
            self.budget_left.labels(name).set_function(partial(left, name))

    def watch_breakers(self, names: Iterable[str], is_paused: Callable[[str], bool]) -> None:
        """Tell at each scrape which providers are left alone."""
        for name in names:
            self.breaker_open.labels(name).set_function(partial(_as_number, is_paused, name))

    def _add(self, scenario: str, what: str, number: float) -> None:
        with self._lock:
            self._sums[scenario, what] += number  # type: ignore[assignment]
            cost, answers = self._sums[scenario, "cost"], self._sums[scenario, "answers"]
        self.cost_of_thousand.labels(scenario).set(1000 * cost / answers if answers else 0.0)


def _as_number(is_so: Callable[[str], bool], name: str) -> float:
    return float(is_so(name))
