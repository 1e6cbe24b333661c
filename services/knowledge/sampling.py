"""Draws several samples of each question, measures their agreement, and keeps the one nearest the others.

Each sample is kept under a key of its own as soon as it is drawn: when the embedding service is away, when a caller
gives up, or when the number of samples or the threshold is changed, nothing is asked of the language model again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loreline.client.knowledge import Failure
from loreline.domain import Knowledge, canonical_json
from services.knowledge.agreement import agreement
from services.knowledge.asking import Asker
from services.knowledge.encoding import TextEncoder
from services.knowledge.prompts import answer_key
from services.knowledge.providers import Provider
from services.knowledge.questions import Question, Result
from services.knowledge.store import KnowledgeStore
from services.knowledge.text_checks import RejectedText, SuspectText
from services.scenarios import Scenario

QUESTIONS_TOGETHER = 32  # times 8 samples stays below the 1,024 texts that one call may encode


class LowAgreement(SuspectText):
    """The samples of a question do not agree enough; `agreement` is what was measured, None when nothing could be."""

    def __init__(self, complaint: str, text: str, measured: float | None) -> None:
        self.agreement = measured
        super().__init__("LOW_AGREEMENT", complaint, text)


@dataclass
class _Drawn:
    """What came of one question's samples so far."""

    question: Question
    texts: list[Knowledge] = field(default_factory=list)
    rejected: list[RejectedText] = field(default_factory=list)
    failure: Failure | None = None


class Sampler:
    """Asks each question `samples` times, 2 to 8. Thread-safe.

    `minimum_agreement` is for scenarios that name none themselves; None: any agreement will do.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        encoder: TextEncoder,
        asker: Asker,
        samples: int,
        minimum_agreement: float | None = None,
    ) -> None:
        self._store, self._encoder, self._asker = store, encoder, asker
        self.samples, self._default_minimum = samples, minimum_agreement

    def key_parameters(self, scenario: Scenario) -> Mapping[str, Any]:
        """What distinguishes the answer from that of one sample."""
        minimum = self._minimum(scenario)
        threshold = {} if minimum is None else {"minimum_agreement": minimum}
        return {"samples": self.samples, **threshold}

    def results(
        self, provider: Provider, questions: Sequence[Question], is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[Question, Result | RejectedText]]:
        """Yield what came of each question; stops early when `is_wanted` turns false.

        Raises DependencyUnavailable (the store, the embedding service); the samples drawn until then are kept.
        """
        for start in range(0, len(questions), QUESTIONS_TOGETHER):
            drawn = [_Drawn(question) for question in questions[start : start + QUESTIONS_TOGETHER]]
            for sample in range(self.samples):
                if not is_wanted():
                    return
                self._draw(provider, [one for one in drawn if one.failure is None], sample)
            yield from self._settle(drawn)

    def _draw(self, provider: Provider, drawn: Sequence[_Drawn], sample: int) -> None:
        parameters = provider.parameters(sample)
        by_key = {_sample_question(one.question, parameters).key: one for one in drawn}
        stored = self._store.get_many(list(by_key))
        found = {key: known for key, known in stored.items() if _is_sample(known, by_key[key].question, parameters)}
        for key, known in found.items():
            by_key[key].texts.append(known)
        missing = [_sample_question(one.question, parameters) for key, one in by_key.items() if key not in found]
        for question, result in self._asker.ask(provider, missing, sample):
            self._take(by_key[question.key], result)

    def _take(self, one: _Drawn, result: Result | RejectedText) -> None:
        if isinstance(result, RejectedText):
            one.rejected.append(result)
        elif isinstance(result, Failure):
            one.failure = result
        else:
            self._store.put(result)
            one.texts.append(result)

    def _settle(self, drawn: Sequence[_Drawn]) -> Iterator[tuple[Question, Result | RejectedText]]:
        compared = [one for one in drawn if one.failure is None and len(one.texts) > 1]
        texts = [known.text for one in compared for known in one.texts]
        vectors = self._encoder.encode(texts) if texts else None
        start = 0
        for one in drawn:
            if vectors is not None and one.failure is None and len(one.texts) > 1:
                measured = agreement([known.text for known in one.texts], vectors[start : start + len(one.texts)])
                start += len(one.texts)
                yield one.question, self._chosen(one, measured.medoid, measured.score)
            else:
                yield one.question, one.failure or self._uncompared(one)

    def _uncompared(self, one: _Drawn) -> Result | RejectedText:
        return self._chosen(one, 0, None) if one.texts else one.rejected[0]

    def _chosen(self, one: _Drawn, index: int, score: float | None) -> Result | RejectedText:
        source, scenario = one.texts[index].provenance, one.question.prompt.scenario
        parameters = {**json.loads(source.parameters_json), **self.key_parameters(scenario)}
        provenance = dataclasses.replace(
            source, key=one.question.key, agreement=score, parameters_json=canonical_json(parameters)
        )
        chosen = Knowledge(one.texts[index].text, provenance)
        minimum = self._minimum(scenario)
        if minimum is None or (score is not None and score >= minimum):
            return chosen
        why = LowAgreement(self._complaint(one, score, minimum), chosen.text, score)
        self._asker.set_aside(one.question, chosen, why)
        return why

    def _minimum(self, scenario: Scenario) -> float | None:
        return self._default_minimum if scenario.minimum_agreement is None else scenario.minimum_agreement

    def _complaint(self, one: _Drawn, score: float | None, minimum: float) -> str:
        counted = f"{len(one.texts)} of {self.samples} samples"
        if score is None:
            return f"none could be measured, only {counted} passed the checks"
        return f"{score:.2f} between {counted}, at least {minimum:.2f} is required"


def _sample_question(question: Question, parameters: Mapping[str, Any]) -> Question:
    key = answer_key(question.prompt, question.provider, question.model, parameters)
    return dataclasses.replace(question, key=key)


def _is_sample(known: Knowledge, question: Question, parameters: Mapping[str, Any]) -> bool:
    # under the key of the first sample may lie what the second one or the fallback wrote instead of it
    source = known.provenance
    return source.provider == question.provider and source.parameters_json == canonical_json(parameters)
