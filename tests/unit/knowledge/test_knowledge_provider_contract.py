"""What every provider must do, run over every provider that is registered."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator

import pytest
from knowledge_parts import item, settings, user

from loreline.client import KnowledgeClient
from services.knowledge.prompts import PromptStyle, render
from services.knowledge.providers import PROVIDERS, Completion, Provider, build_provider
from services.knowledge.text_checks import RejectedText, accept
from services.scenarios import load_scenario
from tests.language_model_stub import FaultStub

Start = Callable[..., KnowledgeClient]
SLOW = {"embedded", "embedded-llama-cpp"}  # load a language model
MISSING = set() if importlib.util.find_spec("llama_cpp") else {"embedded-llama-cpp"}
ABSENT = pytest.mark.skip("llama-cpp-python is not installed: pip install '.[local-llm]' builds it for minutes")
NAMES = [
    pytest.param(name, marks=[*[pytest.mark.slow] * (name in SLOW), *[ABSENT] * (name in MISSING)])
    for name in PROVIDERS
]
# torch's ahead-of-time parts use names that Python is about to drop
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(name: str, stub: FaultStub) -> Iterator[Provider]:
    built = build_provider(name, settings(**_addresses(stub)))
    yield built
    built.close()


def _addresses(stub: FaultStub) -> dict[str, object]:
    urls = {"tgi_url": stub.url("ok"), "openai_url": stub.url("ok/v1"), "openai_model": "model-7b"}
    return urls | {"embedded_max_new_tokens": 60}


def test_every_question_has_one_outcome(provider: Provider) -> None:
    """Items and users in one batch, each index once, each text with counted tokens."""
    movies = load_scenario("movies")
    subjects = [item(), user(), item("2", "Loud Planet", genres=["Action"], year=1996)]
    prompts = [render(subject, movies, provider.prompt_style) for subject in subjects]
    outcomes = list(provider.generate(prompts, 0))
    assert sorted(index for index, _ in outcomes) == [0, 1, 2]
    for index, outcome in outcomes:
        assert isinstance(outcome, Completion), (index, outcome)
        assert outcome.finish_reason in {"stop", "length"}
        assert (outcome.completion_tokens > 0) is (provider.prompt_style is not PromptStyle.FACTS)


def test_nothing_asked_is_nothing_answered(provider: Provider) -> None:
    """An empty batch asks no model."""
    assert list(provider.generate([], 0)) == []


def test_parameters_are_canonical_and_tell_samples_apart(provider: Provider) -> None:
    """They go into the key: JSON, stable, and different for another sample where there can be one."""
    first = json.dumps(provider.parameters(0), sort_keys=True)
    assert first == json.dumps(provider.parameters(0), sort_keys=True)
    assert (first != json.dumps(provider.parameters(1), sort_keys=True)) is provider.can_sample


def test_the_model_has_a_name_and_answers(provider: Provider) -> None:
    """Provenance names the model; readiness asks the provider."""
    assert provider.model()
    assert provider.answers()


def test_a_provider_may_be_closed_twice(provider: Provider) -> None:
    """A drain may come upon a failed start."""
    provider.close()
    provider.close()


def test_the_service_makes_knowledge_with_it(name: str, start: Start, stub: FaultStub) -> None:
    """From the request to the stored answer; whoever fell back says so."""
    client = start(default_provider=name, **_addresses(stub))
    answer = next(client.generate_for_items("movies", [item()]))
    assert answer.knowledge is not None, answer.failure
    assert (answer.knowledge.provenance.provider == name) is not bool(answer.knowledge.provenance.fallback_reason)
    assert client.item_knowledge("1") == answer.knowledge


@pytest.mark.slow
def test_the_embedded_model_writes_texts_that_are_kept() -> None:
    """Most of its texts on real titles pass the checks, within the token limit, and the same seed writes the same."""
    built = build_provider("embedded", settings(embedded_max_new_tokens=60))
    films = [("Toy Story", ["Animation", "Comedy"]), ("Fargo", ["Crime", "Thriller"]), ("Twister", ["Action"])]
    subjects = [item(str(n), title, genres=genres, year=1996) for n, (title, genres) in enumerate(films)]
    prompts = [render(subject, load_scenario("movies"), built.prompt_style) for subject in subjects]
    texts = {sample: [dict(built.generate(prompts, sample)) for _ in range(2)] for sample in (0, 1)}
    built.close()
    assert texts[0][0] == texts[0][1]
    assert texts[1][0] == texts[1][1]
    assert texts[0][0] != texts[1][0]
    written = [outcome for outcome in texts[0][0].values() if isinstance(outcome, Completion)]
    assert len(written) == len(films)
    assert all(0 < completion.completion_tokens <= 60 for completion in written)
    assert all(completion.text.startswith(prompt.opening) for completion, prompt in zip(written, prompts, strict=True))
    assert sum(_is_kept(text, prompt) for text, prompt in zip(written, prompts, strict=True)) >= 2


def _is_kept(completion: Completion, prompt: object) -> bool:
    try:
        return bool(accept(completion.text, prompt, completion.finish_reason))  # type: ignore[arg-type]
    except RejectedText:
        return False
