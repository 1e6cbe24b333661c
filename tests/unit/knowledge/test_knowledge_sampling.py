"""Several samples of a question: agreement, threshold, what is kept, and what happens without the embedding service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from knowledge_parts import GOOD_TEXT, ScriptedProvider, asker_over, item, pool_of, settings
from pydantic import ValidationError

from loreline.client import KnowledgeClient, ServiceUnavailableError
from loreline.domain import Knowledge
from services.cli.local_processes import free_port
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt
from services.knowledge.providers import (
    Completion,
    Provider,
    ProviderOutcome,
    ProviderUnavailable,
)
from services.knowledge.sampling import Sampler
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore
from services.runtime.errors import DependencyUnavailable
from services.scenarios import load_scenario
from tests.language_model_stub import FaultStub

TEXTS = [
    "A slow story about two strangers who share a train compartment, shot by Jane Smith in 1994 with little light.",
    "A slow tale about two strangers in a train compartment, shot by Jane Smith in 1994, for viewers who like talk.",
    "A loud comedy about a heist on the moon, directed by Bob Day in 1961, with songs and a very happy end for all.",
]
Start = Callable[..., KnowledgeClient]
Make = Callable[..., KnowledgeGenerator]


class AngleEncoder:
    """Encodes by the words that texts share; records what it was given. It can be away."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.away = False

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Bags of words, scaled to unit length."""
        self.calls.append(list(texts))
        if self.away:
            raise DependencyUnavailable("the embedding service", "refused")
        words = sorted({word for text in texts for word in text.lower().split()})
        bags = np.array([[text.lower().split().count(word) for word in words] for text in texts], dtype=np.float32)
        return bags / np.linalg.norm(bags, axis=1, keepdims=True)


def by_sample(_prompt: Prompt, sample: int) -> ProviderOutcome:
    """Two samples alike, every third one another story."""
    return Completion(TEXTS[sample % 3], 50, 30 + sample)


@pytest.fixture
def encoder() -> AngleEncoder:
    return AngleEncoder()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KnowledgeStore]:
    opened = KnowledgeStore(tmp_path / "knowledge.db")
    yield opened
    opened.close()


@pytest.fixture
def make(store: KnowledgeStore, encoder: AngleEncoder) -> Make:
    """A generator over a scripted provider that draws so many samples."""

    def build(
        scripted: Provider, samples: int, minimum: float | None = None, fallback: str = "catalogue"
    ) -> KnowledgeGenerator:
        pool, asker = pool_of(scripted, "catalogue"), asker_over(store)
        sampler = Sampler(store, encoder, asker, samples, minimum) if samples > 1 else None
        return KnowledgeGenerator(store, pool, asker, KnowledgeMetrics(), "scripted", fallback, sampler)

    return build


def ask(generator: KnowledgeGenerator, count: int = 1) -> list[Knowledge]:
    """Knowledge of so many different items."""
    answers = list(generator.generate_for_items("movies", [item(str(n), f"Film {n}") for n in range(count)]))
    assert all(answer.failure is None for answer in answers), answers
    return [answer.knowledge for answer in answers if answer.knowledge]


def test_the_sample_nearest_the_others_is_kept_with_its_agreement(make: Make) -> None:
    """Text, tokens and parameters are those of the chosen sample."""
    provider = ScriptedProvider(lambda _, sample: Completion(TEXTS[(sample + 2) % 3], 50, 30 + sample))
    knowledge = ask(make(provider, 3))[0]
    assert knowledge.text in TEXTS[:2]
    assert 0 < (knowledge.provenance.agreement or 0) < 1
    assert knowledge.provenance.completion_tokens == 30 + (1 if knowledge.text == TEXTS[0] else 2)
    assert json.loads(knowledge.provenance.parameters_json)["samples"] == 3
    assert sorted(provider.asked) == [("0", 0), ("0", 1), ("0", 2)]


def test_samples_that_agree_score_higher_than_samples_that_do_not(make: Make) -> None:
    """Two alike against three of which one differs."""
    alike = ask(make(ScriptedProvider(by_sample), 2))[0].provenance.agreement
    mixed = ask(make(ScriptedProvider(by_sample), 3))[0].provenance.agreement
    assert alike is not None
    assert mixed is not None
    assert alike > mixed + 0.1


def test_one_sample_has_no_agreement(make: Make, encoder: AngleEncoder) -> None:
    """And the embedding service is not asked."""
    assert ask(make(ScriptedProvider(by_sample), 1))[0].provenance.agreement is None
    assert encoder.calls == []


def test_a_provider_that_cannot_sample_is_asked_once(make: Make, encoder: AngleEncoder) -> None:
    """The same text again would agree with itself."""
    provider = ScriptedProvider(by_sample, can_sample=False)
    assert ask(make(provider, 4))[0].provenance.agreement is None
    assert provider.asked == [("0", 0)]
    assert encoder.calls == []


def test_low_agreement_falls_back_to_content_and_says_so(make: Make) -> None:
    """With the agreement that was measured."""
    source = ask(make(ScriptedProvider(by_sample), 3, 0.95))[0].provenance
    assert source.provider == "catalogue"
    assert source.agreement is not None
    assert f"low agreement: {source.agreement:.2f} between 3 of 3 samples, at least 0.95" in source.fallback_reason


def test_agreement_above_the_threshold_is_kept(make: Make) -> None:
    """The model's own text."""
    source = ask(make(ScriptedProvider(by_sample), 2, 0.3))[0].provenance
    assert (source.provider, source.fallback_reason) == ("scripted", "")


def test_a_text_of_low_agreement_is_kept_as_a_suspect(make: Make, store: KnowledgeStore) -> None:
    """The one nearest the others, with the agreement that was measured; it is not served."""
    written = ask(make(ScriptedProvider(by_sample), 3, 0.95))[0]
    suspects = list(SuspectStore(store.database).newest("movies", "LOW_AGREEMENT", 10))
    assert len(suspects) == 1
    assert suspects[0].knowledge.text in TEXTS[:2]
    assert suspects[0].knowledge.provenance.agreement == written.provenance.agreement
    assert written.text not in TEXTS


def test_a_scenario_has_a_threshold_of_its_own(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts instead of the process' one, and is part of the key."""
    source = (resources.files("services.scenarios") / "movies.yaml").read_text(encoding="utf-8")
    (tmp_path / "movies.yaml").write_text(f"{source}\nminimum_agreement: 0.95\n", encoding="utf-8")
    lenient = ask(make(ScriptedProvider(by_sample), 3, 0.1))[0]
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(tmp_path))
    load_scenario.cache_clear()
    strict = ask(make(ScriptedProvider(by_sample), 3, 0.1))[0]
    load_scenario.cache_clear()
    assert (lenient.provenance.provider, strict.provenance.provider) == ("scripted", "catalogue")
    assert "at least 0.95" in strict.provenance.fallback_reason


def test_low_agreement_without_a_fallback_is_a_failure(make: Make) -> None:
    """Of the kind of suspects."""
    answer = next(make(ScriptedProvider(by_sample), 3, 0.95, "").generate_for_items("movies", [item()]))
    assert answer.failure is not None
    assert answer.failure.reason == "SUSPECT"
    assert "low agreement" in answer.failure.detail


def test_a_rejected_sample_takes_no_part(make: Make) -> None:
    """The others are compared; with one left there is nothing to compare."""
    two = ScriptedProvider(lambda _, sample: Completion("too short" if sample == 1 else TEXTS[sample // 2]))
    assert ask(make(two, 3))[0].provenance.agreement is not None
    one = ScriptedProvider(lambda _, sample: Completion("too short" if sample else TEXTS[0]))
    answers = list(make(one, 3).generate_for_items("movies", [item(title="Another")]))
    assert answers[0].knowledge is not None
    assert (answers[0].knowledge.text, answers[0].knowledge.provenance.agreement) == (TEXTS[0], None)


def test_an_agreement_that_cannot_be_measured_does_not_pass_a_threshold(make: Make) -> None:
    """One text of three is no agreement."""
    provider = ScriptedProvider(lambda _, sample: Completion("too short" if sample else TEXTS[0]))
    source = ask(make(provider, 3, 0.1))[0].provenance
    assert (source.provider, source.agreement) == ("catalogue", None)
    assert "only 1 of 3 samples passed" in source.fallback_reason


def test_samples_that_are_all_rejected_fall_back_as_one_does(make: Make) -> None:
    """The first check's words are the reason."""
    source = ask(make(ScriptedProvider(lambda *_: Completion("no")), 2))[0].provenance
    assert source.provider == "catalogue"
    assert "too short" in source.fallback_reason


def test_the_key_changes_with_samples_and_threshold(make: Make) -> None:
    """One of them changed is another answer."""
    provider = ScriptedProvider(by_sample)
    chosen = [(1, None), (2, None), (3, None), (3, 0.1), (3, 0.2)]
    keys = {ask(make(provider, samples, minimum))[0].provenance.key for samples, minimum in chosen}
    assert len(keys) == len(chosen)


def test_more_samples_or_another_threshold_ask_only_what_was_never_asked(make: Make) -> None:
    """Every sample is kept."""
    provider = ScriptedProvider(by_sample)
    for samples, minimum in [(1, None), (3, None), (3, 0.95), (4, None), (2, None)]:
        ask(make(provider, samples, minimum))
    assert sorted(sample for _, sample in provider.asked) == [0, 1, 2, 3]


def test_what_the_fallback_wrote_is_no_sample(make: Make) -> None:
    """It lies under the key of the first sample, but is not the model's."""
    ask(make(ScriptedProvider(lambda *_: Completion("no")), 1))
    good = ScriptedProvider(by_sample)
    assert ask(make(good, 2))[0].provenance.provider == "scripted"
    assert sorted(sample for _, sample in good.asked) == [0, 1]


def test_an_embedding_service_that_is_away_loses_no_sample(make: Make, encoder: AngleEncoder) -> None:
    """The call fails as unavailable; the next one asks the model nothing."""
    provider, encoder.away = ScriptedProvider(by_sample), True
    generator = make(provider, 3)
    with pytest.raises(DependencyUnavailable, match="embedding service"):
        ask(generator)
    encoder.away = False
    assert ask(generator)[0].provenance.agreement is not None
    assert len(provider.asked) == 3


def test_a_model_that_is_away_for_one_sample_is_a_failure_to_retry(make: Make) -> None:
    """Two of three would be another measurement; what was drawn is kept."""
    script: dict[str, ProviderOutcome] = {"outcome": ProviderUnavailable("gone")}
    provider = ScriptedProvider(lambda _, sample: script["outcome"] if sample == 1 else Completion(TEXTS[sample]))
    generator = make(provider, 3)
    answer = next(generator.generate_for_items("movies", [item()]))
    assert answer.failure is not None
    assert answer.failure.reason == "UNAVAILABLE"
    script["outcome"] = Completion(TEXTS[1])
    assert next(generator.generate_for_items("movies", [item()])).knowledge is not None
    assert sorted(sample for _, sample in provider.asked) == [0, 1, 1, 2]


def test_many_questions_are_compared_in_bounded_batches(make: Make, encoder: AngleEncoder) -> None:
    """Each answer is made of its own samples; no call encodes more than the service takes."""
    provider = ScriptedProvider(
        lambda prompt, sample: Completion(f"{GOOD_TEXT} Its title is {prompt.subject.title}, sample {sample}.")  # type: ignore[union-attr]
    )
    known = ask(make(provider, 8), 70)
    assert len({knowledge.text.split(", sample")[0] for knowledge in known}) == 70
    assert max(len(call) for call in encoder.calls) <= 1024
    assert len(provider.asked) == 560


def test_a_caller_who_left_is_not_worked_for(make: Make) -> None:
    """No further sample is drawn."""
    wanted = iter([True, True, False])
    provider = ScriptedProvider(by_sample)
    answers = make(provider, 8).generate_for_items("movies", [item()], "", lambda: next(wanted, False))
    assert list(answers) == []
    assert len(provider.asked) == 1


def test_several_samples_need_the_address_of_the_embedding_service() -> None:
    """The process does not start without; nor with a threshold that nothing is measured for."""
    with pytest.raises(ValidationError, match="LORELINE_KNOWLEDGE_EMBEDDING_ADDRESS"):
        settings(samples=2)
    with pytest.raises(ValidationError, match="LORELINE_KNOWLEDGE_MINIMUM_AGREEMENT"):
        settings(minimum_agreement=0.5)
    with pytest.raises(ValidationError, match="samples"):
        settings(samples=9, embedding_address="127.0.0.1:1")
    assert settings(samples=2, embedding_address="127.0.0.1:1", minimum_agreement=0.5).samples == 2


def test_a_service_that_cannot_compare_is_unavailable_to_its_caller(start: Start, stub: FaultStub) -> None:
    """Over gRPC, within the deadline."""
    nowhere = f"127.0.0.1:{free_port(0)}"
    client = start(
        tgi_url=stub.url("ok"),
        default_provider="tgi",
        samples=2,
        embedding_address=nowhere,
        embedding_timeout_seconds=2,
    )
    with pytest.raises(ServiceUnavailableError, match="embedding service"):
        list(client.generate_for_items("movies", [item()]))
    assert len(stub.bodies) == 2
