"""Makes knowledge: looks answers up, asks a provider for the missing ones, checks, keeps and hands them on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from loreline.client.knowledge import Answer, Failure
from loreline.domain import Cluster, Item, Knowledge, UserHistory
from services.knowledge.asking import Asker
from services.knowledge.limits import (
    check_cluster_request,
    check_item_request,
    check_provider,
    check_subject_id,
    check_user_request,
)
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import PromptStyle, Subject, id_of, render
from services.knowledge.providers import Provider, ProviderError, ProviderPool
from services.knowledge.questions import Question, Result, failure_of, questions_about
from services.knowledge.sampling import LowAgreement, Sampler
from services.knowledge.shared_questions import SharedQuestions
from services.knowledge.store import KnowledgeStore
from services.knowledge.text_checks import RejectedText
from services.runtime.errors import NotFound
from services.scenarios import Scenario

WAIT_SECONDS = 0.5  # how often a call that waits for another's answer looks whether its own caller is still there
SECOND_SAMPLE = 1


def _now() -> datetime:
    return datetime.now(UTC)


class KnowledgeGenerator:
    """Generates and reads knowledge. Safe to call from several threads.

    A text that fails its checks is sampled once more and then written by the fallback provider; a provider that does
    not answer is not replaced, because the caller can ask again. Failures are not kept. What the fallback wrote is kept
    for `fallback_retry`: then the model is asked again, and its text takes the place of the other.
    With a sampler every question is asked several times, and texts that do not agree enough are replaced as well.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        providers: ProviderPool,
        asker: Asker,
        metrics: KnowledgeMetrics,
        default_provider: str,
        fallback_provider: str = "",
        sampler: Sampler | None = None,
        fallback_retry: timedelta = timedelta(hours=1),
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._fallback_retry, self._now = fallback_retry, now
        self._metrics = metrics
        self._store, self._providers, self._asker, self._sampler = store, providers, asker, sampler
        self._default, self._fallback = default_provider, fallback_provider
        self._shared: SharedQuestions[Result] = SharedQuestions()

    def generate_for_items(
        self, scenario: str, items: Sequence[Item], provider: str = "", is_wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 items, as they come; stops early when `is_wanted` turns false.

        Raises InvalidRequest, DependencyUnavailable (the store).
        """
        check_provider(provider or self._default, self._providers.names)
        yield from self._answer(items, check_item_request(scenario, items), provider or self._default, is_wanted)

    def generate_for_users(
        self,
        scenario: str,
        users: Sequence[UserHistory],
        provider: str = "",
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 users; otherwise as `generate_for_items`."""
        check_provider(provider or self._default, self._providers.names)
        yield from self._answer(users, check_user_request(scenario, users), provider or self._default, is_wanted)

    def generate_for_clusters(
        self,
        scenario: str,
        clusters: Sequence[Cluster],
        provider: str = "",
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 clusters; otherwise as `generate_for_items`."""
        check_provider(provider or self._default, self._providers.names)
        checked = check_cluster_request(scenario, clusters)
        yield from self._answer(clusters, checked, provider or self._default, is_wanted)

    def item_knowledge(self, item_id: str) -> Knowledge:
        """The newest knowledge of an item. Raises InvalidRequest, NotFound, DependencyUnavailable."""
        return self._newest("item", item_id)

    def user_knowledge(self, user_id: str) -> Knowledge:
        """The newest knowledge of a user. Raises InvalidRequest, NotFound, DependencyUnavailable."""
        return self._newest("user", user_id)

    def _newest(self, kind: str, subject_id: str) -> Knowledge:
        check_subject_id(f"{kind}_id", subject_id)
        knowledge = self._store.newest(kind, subject_id)
        if knowledge is None:
            raise NotFound(f"knowledge of {kind}", subject_id)
        return knowledge

    def _answer(
        self, subjects: Sequence[Subject], scenario: Scenario, name: str, is_wanted: Callable[[], bool]
    ) -> Iterator[Answer]:
        try:
            provider = self._providers.get(name)
            more = self._key_parameters(provider, scenario)
            questions, too_long = questions_about(subjects, scenario, name, provider, more)
        except ProviderError as error:
            yield from (Answer(id_of(subject), None, failure_of(error), False) for subject in subjects)
            return
        for subject, refusal in too_long:
            self._metrics.questions.labels(name, "too_long").inc()
            yield Answer(id_of(subject), None, failure_of(refusal), False)
        pending: dict[str, list[Question]] = {}
        for question in questions:
            pending.setdefault(question.key, []).append(question)
        while pending and is_wanted():
            yield from self._answer_once(provider, pending, is_wanted)

    def _answer_once(
        self, provider: Provider, pending: dict[str, list[Question]], is_wanted: Callable[[], bool]
    ) -> Iterator[Answer]:
        """Answer what no other call works on, then wait for the others; what they gave up stays in `pending`."""
        owned, foreign = self._shared.claim(pending)
        try:
            asked = [pending[key][0] for key in owned]
            for key, result, reused in self._results(provider, asked, is_wanted):
                self._shared.resolve(key, owned, result)
                yield from self._deliver(pending.pop(key), result, reused)
        finally:
            self._shared.release(owned)
        for key, future in foreign.items():
            given = _await(future, is_wanted)
            if given is not None:
                yield from self._deliver(pending.pop(key), given, reused=True)

    def _deliver(self, questions: Sequence[Question], result: Result, reused: bool) -> Iterator[Answer]:
        for question in questions:
            subject_id = question.prompt.subject_id
            if isinstance(result, Failure):
                yield Answer(subject_id, None, result, False)
                continue
            self._store.link(question.prompt.subject_kind, subject_id, question.key, self._now())
            if reused:
                self._metrics.reused.labels(question.prompt.scenario.name).inc()
            yield Answer(subject_id, result, None, reused)
            reused = True  # the others of the same key ask the same

    def _results(
        self, provider: Provider, questions: Sequence[Question], is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[str, Result, bool]]:
        """Yield (key, result, reused) of each question."""
        stored = self._store.get_many([question.key for question in questions])
        provisional = {key: known for key, known in stored.items() if self._is_to_be_asked_again(known)}
        for key, knowledge in stored.items():
            if key not in provisional:
                yield key, knowledge, True
        missing = [question for question in questions if question.key not in stored or question.key in provisional]
        if self._sampler is not None and provider.can_sample:
            results = self._sampled(self._sampler, provider, missing, is_wanted)
        else:
            results = self._asked(provider, missing)
        for key, result, reused in results:
            if isinstance(result, Failure) and key in provisional:
                yield key, provisional[key], True  # better than nothing until the model answers
            else:
                yield key, result, reused

    def _is_to_be_asked_again(self, knowledge: Knowledge) -> bool:
        """Whether another provider wrote it instead of the one whose key it has, and that one has had a while since."""
        source = knowledge.provenance
        return bool(source.fallback_reason) and self._now() - source.created_time >= self._fallback_retry

    def _key_parameters(self, provider: Provider, scenario: Scenario) -> Mapping[str, Any]:
        return self._sampler.key_parameters(scenario) if self._sampler is not None and provider.can_sample else {}

    def _sampled(
        self, sampler: Sampler, provider: Provider, questions: Sequence[Question], is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[str, Result, bool]]:
        for question, result in sampler.results(provider, questions, is_wanted):
            kept = self._fall_back(question, result) if isinstance(result, RejectedText) else result
            yield question.key, self._keep(question, kept), False

    def _asked(self, provider: Provider, questions: Sequence[Question]) -> Iterator[tuple[str, Result, bool]]:
        rejected: list[tuple[Question, RejectedText]] = []
        yield from self._ask(provider, questions, 0, rejected)
        if rejected and provider.can_sample:
            again = [question for question, _ in rejected]
            rejected = []
            yield from self._ask(provider, again, SECOND_SAMPLE, rejected)
        for question, why in rejected:
            yield question.key, self._keep(question, self._fall_back(question, why)), False

    def _ask(
        self,
        provider: Provider,
        questions: Sequence[Question],
        sample: int,
        rejected: list[tuple[Question, RejectedText]],
    ) -> Iterator[tuple[str, Result, bool]]:
        """Yield what can be answered; append to `rejected` what failed its checks."""
        for question, result in self._asker.ask(provider, questions, sample):
            if isinstance(result, RejectedText):
                rejected.append((question, result))
            else:
                yield question.key, self._keep(question, result), False

    def _fall_back(self, question: Question, why: RejectedText) -> Result:
        if self._fallback in {"", question.provider}:
            return Failure(why.failure, str(why))
        self._metrics.fallbacks.labels(why.check).inc()
        try:
            result = self._substitute(question, why)
        except ProviderError as error:
            result = failure_of(error)
        if isinstance(result, Knowledge):
            return _with_agreement(result, why)
        complaint = result.detail if isinstance(result, Failure) else str(result)
        return Failure(why.failure, f"{why}; the fallback {self._fallback} failed as well: {complaint}")

    def _substitute(self, question: Question, why: RejectedText) -> Result | RejectedText:
        """What the fallback provider writes instead. Raises ProviderError."""
        provider = self._providers.get(self._fallback)
        prompt = render(question.prompt.subject, question.prompt.scenario, provider.prompt_style)
        substitute = Question(question.key, prompt, self._fallback, provider.model())
        _, result = next(self._asker.ask(provider, [substitute], 0, str(why)))
        return result

    def _keep(self, question: Question, result: Result) -> Result:
        if isinstance(result, Knowledge):
            self._store.put(result)
            if question.prompt.style is not PromptStyle.FACTS:
                self._metrics.answered(question.prompt.scenario.name)
        return result


def _with_agreement(knowledge: Knowledge, why: RejectedText) -> Knowledge:
    if not isinstance(why, LowAgreement):
        return knowledge
    return Knowledge(knowledge.text, dataclasses.replace(knowledge.provenance, agreement=why.agreement))


def _await(future: Future[Result | None], is_wanted: Callable[[], bool]) -> Result | None:
    """The result of another call's work; None when that call gave up or nobody wants it any more."""
    while is_wanted():
        try:
            return future.result(timeout=WAIT_SECONDS)
        except TimeoutError:
            continue
    return None
