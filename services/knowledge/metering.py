"""Puts prompts to a provider within the budget, and counts what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from services.knowledge.budget import BudgetSpent, Reservation, TokenBudget
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Provider, ProviderError, ProviderOutcome
from services.knowledge.tokens import estimated_prompt_tokens, estimated_tokens


class Meter:
    """Every prompt reserves its estimate before it is put, and settles with the real tokens. Thread-safe.

    A provider that composes of facts is no language model: it costs nothing and is never held back.
    """

    def __init__(self, budget: TokenBudget, metrics: KnowledgeMetrics) -> None:
        self._budget, self._metrics = budget, metrics

    def outcomes(
        self, name: str, provider: Provider, scenario: str, prompts: Sequence[ChatPrompt], sample: int
    ) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield (index of the prompt, outcome) of every prompt as they come; closing it abandons the rest.

        Raises DependencyUnavailable (the store).
        """
        began, seconds = time.monotonic(), self._metrics.question_seconds.labels(name)
        if provider.prompt_style is PromptStyle.FACTS:
            yield from _outcomes(provider, prompts, range(len(prompts)), sample)
            return
        held: dict[int, Reservation] = {}
        try:
            yield from self._hold(provider, scenario, prompts, held)
            for index, outcome in _outcomes(provider, prompts, list(held), sample):
                seconds.observe(time.monotonic() - began)
                self._settle(held.pop(index), prompts[index], outcome)
                yield index, outcome
        finally:
            for reservation in held.values():
                self._budget.settle(reservation, 0)

    def _hold(
        self, provider: Provider, scenario: str, prompts: Sequence[ChatPrompt], held: dict[int, Reservation]
    ) -> Iterator[tuple[int, ProviderOutcome]]:
        """Fill `held`; yield the prompts that the budget does not admit."""
        written = provider.limits().new_tokens
        for index, prompt in enumerate(prompts):
            try:
                held[index] = self._budget.reserve(scenario, estimated_prompt_tokens(prompt) + written)
            except BudgetSpent as error:
                yield index, error

    def _settle(self, reservation: Reservation, prompt: ChatPrompt, outcome: ProviderOutcome) -> None:
        if not isinstance(outcome, Completion):
            self._budget.settle(reservation, 0)  # what failed tries cost, no server says
            return
        read = outcome.prompt_tokens or estimated_prompt_tokens(prompt)  # TGI's /generate does not say
        written = outcome.completion_tokens or estimated_tokens(outcome.text)
        self._budget.settle(reservation, read + written)
        self._metrics.spent(reservation.scenario, read, written)


def _outcomes(
    provider: Provider, prompts: Sequence[ChatPrompt], chosen: Sequence[int], sample: int
) -> Iterator[tuple[int, ProviderOutcome]]:
    """The outcomes of the chosen prompts; a provider that fails as a whole fails each of them."""
    unanswered = list(chosen)
    if not chosen:
        return
    try:
        for index, outcome in provider.generate([prompts[index] for index in chosen], sample):
            unanswered.remove(chosen[index])
            yield chosen[index], outcome
    except ProviderError as error:
        yield from ((index, error) for index in unanswered)
