"""Questions with the keys of their answers, and what becomes of a provider's outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loreline.client.knowledge import Failure
from services.knowledge.prompts import Prompt, Subject, answer_key, canonical_json, render
from services.knowledge.providers import Completion, Outcome, Provider, ProviderError, ProviderRefused
from services.knowledge.text_checks import accept
from services.scenarios import Knowledge, Provenance, Scenario

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
) -> list[Question]:
    """One question for each subject; `more` is part of the key beside the provider's parameters.

    Raises ProviderError.
    """
    model, parameters = provider.model(), {**provider.parameters(0), **more}
    prompts = [render(subject, scenario, provider.prompt_style) for subject in subjects]
    return [Question(answer_key(prompt, name, model, parameters), prompt, name, model) for prompt in prompts]


def outcomes(provider: Provider, questions: Sequence[Question], sample: int) -> Iterator[tuple[Question, Outcome]]:
    """Yield the outcome of every question, as they come; a provider that fails as a whole fails each of them."""
    unanswered = dict(enumerate(questions))
    if not questions:
        return
    try:
        for index, outcome in provider.generate([question.prompt for question in questions], sample):
            yield unanswered.pop(index), outcome
    except ProviderError as error:
        yield from ((question, error) for question in unanswered.values())


def judge(question: Question, outcome: Outcome, parameters: Mapping[str, Any], fallback_reason: str = "") -> Result:
    """The knowledge of an outcome, or its failure. Raises RejectedText."""
    if isinstance(outcome, ProviderError):
        return failure_of(outcome)
    text = accept(outcome.text, question.prompt, outcome.finish_reason)
    return Knowledge(text, _provenance(question, outcome, parameters, fallback_reason))


def failure_of(error: ProviderError) -> Failure:
    """A provider's error in the contract's terms."""
    return Failure("REFUSED" if isinstance(error, ProviderRefused) else "UNAVAILABLE", str(error))


def _provenance(
    question: Question, completion: Completion, parameters: Mapping[str, Any], fallback_reason: str
) -> Provenance:
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
