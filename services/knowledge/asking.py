"""Puts questions to providers and says what came of each: knowledge, a failure, or why its text cannot be served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from loreline.client.knowledge import Failure, Suspect
from loreline.domain import Knowledge
from services.knowledge.metering import Meter
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import Completion, PromptTooLong, Provider, ProviderOutcome
from services.knowledge.questions import Question, Result, judge, provenance_of, with_shorter_prompt
from services.knowledge.suspects import SuspectStore
from services.knowledge.text_checks import RejectedText, SuspectText

log = structlog.get_logger(__name__)


class Asker:
    """Asks, checks what was written, and keeps apart what must not be served. Safe to call from several threads."""

    def __init__(self, meter: Meter, suspects: SuspectStore, metrics: KnowledgeMetrics) -> None:
        self._meter, self._suspects, self._metrics = meter, suspects, metrics

    def ask(
        self, provider: Provider, questions: Sequence[Question], sample: int, fallback_reason: str = ""
    ) -> Iterator[tuple[Question, Result | RejectedText]]:
        """Yield what came of each question, all of one scenario, as answers come.

        One whose prompt the model's server calls too long is asked again with less of it, as long as there is
        something to cut; it is yielded with the prompt that was answered, and its key stays.
        Raises DependencyUnavailable (the store).
        """
        parameters = provider.parameters(sample)
        while questions:
            first, shorter = questions[0], list[Question]()
            prompts = [question.prompt for question in questions]
            put = self._meter.outcomes(first.provider, provider, first.prompt.scenario.name, prompts, sample)
            for index, outcome in put:
                question, counted = questions[index], self._metrics.questions
                if isinstance(outcome, PromptTooLong) and (cut := with_shorter_prompt(question)):
                    counted.labels(first.provider, "shortened").inc()
                    shorter.append(cut)
                    continue
                result = self._judged(question, outcome, parameters, fallback_reason)
                counted.labels(first.provider, _outcome_of(result)).inc()
                yield question, result
            questions = shorter

    def set_aside(self, question: Question, knowledge: Knowledge, why: SuspectText) -> None:
        """Keep a text as a suspect. Raises DependencyUnavailable (the store)."""
        log.info("text suspect", key=question.key, provider=question.provider, why=str(why))
        prompt = question.prompt
        self._metrics.suspects.labels(prompt.scenario.name, why.reason.lower()).inc()
        self._suspects.put(Suspect(prompt.subject_kind, prompt.subject_id, knowledge, why.reason, why.detail))

    def _judged(
        self, question: Question, outcome: ProviderOutcome, parameters: Mapping[str, Any], fallback_reason: str
    ) -> Result | RejectedText:
        try:
            return judge(question, outcome, parameters, fallback_reason)
        except SuspectText as why:
            assert isinstance(outcome, Completion)
            source = provenance_of(question, outcome, parameters, fallback_reason)
            self.set_aside(question, Knowledge(why.text, source), why)
            return why
        except RejectedText as why:
            log.info("text rejected", key=question.key, provider=question.provider, why=str(why))
            return why


def _outcome_of(result: Result | RejectedText) -> str:
    if isinstance(result, Knowledge):
        return "written"
    return (result.reason if isinstance(result, Failure) else result.failure).lower()
