"""Questions with the keys of their answers, and what becomes of a provider's outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loreline.client.knowledge import Failure
from loreline.domain import Item, Knowledge, Provenance, canonical_json
from services.knowledge.contradictions import check_facts
from services.knowledge.fitting import render_within, shortened
from services.knowledge.prompts import Prompt, PromptStyle, Subject, answer_key
from services.knowledge.providers import Completion, PromptTooLong, Provider, ProviderError, ProviderOutcome
from services.knowledge.text_checks import accept
from services.scenarios import Scenario

Result = Knowledge | Failure


@dataclass(frozen=True)
class Question:
    """A prompt to one provider and model, and the key of its answer."""

    key: str
    prompt: Prompt
    provider: str
    model: str


def questions_about(
    subjects: Sequence[Subject], scenario: Scenario, name: str, provider: Provider, more: Mapping[str, Any]
) -> tuple[list[Question], list[tuple[Subject, PromptTooLong]]]:
    """One question for each subject, and the subjects whose prompts are too long for the provider.

    `more` is part of the key beside the provider's parameters. Raises ProviderError.
    """
    model, parameters = provider.model(), {**provider.parameters(0), **more}
    most_tokens, questions, too_long = provider.limits().prompt_tokens, [], []
    for subject in subjects:
        try:
            prompt = render_within(subject, scenario, provider.prompt_style, most_tokens)
        except PromptTooLong as error:
            too_long.append((subject, error))
        else:
            questions.append(Question(answer_key(prompt, name, model, parameters), prompt, name, model))
    return questions, too_long


def with_shorter_prompt(question: Question) -> Question | None:
    """The question with less of what may be cut of its prompt; None when nothing may.

    The key stays that of the whole prompt, under which the answer will be looked for.
    """
    shorter = shortened(question.prompt)
    return dataclasses.replace(question, prompt=shorter) if shorter else None


def judge(
    question: Question, outcome: ProviderOutcome, parameters: Mapping[str, Any], fallback_reason: str = ""
) -> Result:
    """The knowledge of an outcome, or its failure. Raises RejectedText."""
    if isinstance(outcome, ProviderError):
        return failure_of(outcome)
    text = accept(outcome.text, question.prompt, outcome.finish_reason)
    if isinstance(question.prompt.subject, Item) and question.prompt.style is not PromptStyle.FACTS:
        check_facts(text, question.prompt.subject, question.prompt.scenario)
    return Knowledge(text, provenance_of(question, outcome, parameters, fallback_reason))


def failure_of(error: ProviderError) -> Failure:
    """A provider's error in the contract's terms."""
    return Failure(error.reason, str(error))


def provenance_of(
    question: Question, completion: Completion, parameters: Mapping[str, Any], fallback_reason: str = ""
) -> Provenance:
    """Where a completion came from."""
    return Provenance(
        key=question.key,
        provider=question.provider,
        model=question.model,
        scenario=question.prompt.scenario.name,
        prompt_version=question.prompt.version,
        factors=question.prompt.scenario.factors,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        finish_reason=completion.finish_reason,
        created_time=datetime.now(UTC),
        parameters_json=canonical_json(parameters),
        fallback_reason=fallback_reason,
    )
