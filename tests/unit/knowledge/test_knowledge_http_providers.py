"""The tgi and openai providers against a real server that goes wrong on demand."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from knowledge_parts import item, settings

from services.knowledge.prompts import Prompt, PromptStyle, render
from services.knowledge.providers import (
    Completion,
    PromptTooLong,
    Provider,
    ProviderError,
    ProviderOutcome,
    ProviderRefused,
    ProviderUnavailable,
    build_provider,
)
from services.knowledge.providers.http_calls import CircuitBreaker
from services.scenarios import load_scenario
from tests.language_model_stub import TEXTS, FaultStub

Build = Callable[..., Provider]


@pytest.fixture(params=["tgi", "openai"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def build(kind: str, stub: FaultStub) -> Iterator[Build]:
    """Builds the provider against one mode of the stub, and closes it."""
    built: list[Provider] = []

    def make(mode: str, **values: Any) -> Provider:
        addresses = {"tgi_url": stub.url(mode), "openai_url": stub.url(f"{mode}/v1"), "openai_model": "model-7b"}
        built.append(build_provider(kind, settings(**(addresses | values))))
        return built[-1]

    yield make
    stub.released.set()
    for provider in built:
        provider.close()


def prompts(count: int = 1) -> list[Prompt]:
    """Questions about different items."""
    movies = load_scenario("movies")
    return [render(item(str(n), f"Night Train {n}"), movies, PromptStyle.OPEN) for n in range(count)]


def ask(provider: Provider, count: int = 1, sample: int = 0) -> list[ProviderOutcome]:
    """The outcomes in the order of the questions."""
    outcomes = dict(provider.generate(prompts(count), sample))
    return [outcomes[index] for index in range(count)]


def test_an_answer_carries_text_tokens_and_finish_reason(build: Build) -> None:
    """What provenance records comes from the server."""
    assert ask(build("ok")) == [Completion(TEXTS["ok"], 40, 23, "stop")]


def test_a_cut_answer_says_length(build: Build) -> None:
    """A text that the token limit cut is told from a whole one."""
    assert ask(build("length")) == [Completion(TEXTS["length"], 40, 23, "length")]


@pytest.mark.parametrize("status", [429, 424, 500, 503])
def test_a_passing_fault_is_retried(build: Build, stub: FaultStub, status: int) -> None:
    """Overload and faults of the server pass: the third try succeeds."""
    assert isinstance(ask(build(f"{status}x2"))[0], Completion)
    assert stub.calls[f"{status}x2"] == 3


@pytest.mark.parametrize("mode", ["garbage", "missing"])
def test_a_malformed_answer_is_retried_a_little(build: Build, stub: FaultStub, mode: str) -> None:
    """One may be a proxy's page; a server that always answers so is given up."""
    assert isinstance(ask(build(f"{mode}x1"))[0], Completion)
    outcome = ask(build(mode))[0]
    assert isinstance(outcome, ProviderUnavailable)
    assert "malformed" in str(outcome)
    assert stub.calls[mode] == 3


@pytest.mark.parametrize("status", [413, 422])
def test_a_refused_question_is_not_put_again(build: Build, stub: FaultStub, status: int) -> None:
    """The same question would be refused again."""
    outcome = ask(build(str(status)))[0]
    assert isinstance(outcome, ProviderRefused)
    assert str(status) in str(outcome)
    assert stub.calls[str(status)] == 1


def test_a_wrong_token_is_not_tried_again(build: Build, stub: FaultStub) -> None:
    """401 does not pass by itself, and says nothing against the question."""
    outcome = ask(build("401"))[0]
    assert isinstance(outcome, ProviderUnavailable)
    assert "401" in str(outcome)
    assert stub.calls["401"] == 1


def test_a_fault_that_stays_ends_at_the_deadline(build: Build, stub: FaultStub) -> None:
    """All tries and pauses share one deadline, and the last status is told."""
    outcome = ask(build("503", question_deadline_seconds=1.5))[0]
    assert isinstance(outcome, ProviderUnavailable)
    assert "no answer within 1.5 s" in str(outcome)
    assert "503" in str(outcome)
    assert stub.calls["503"] > 1


def test_a_stalled_server_ends_at_the_deadline(build: Build) -> None:
    """A server that takes the question and is silent does not hold its caller."""
    outcome = ask(build("slow", question_deadline_seconds=0.4))[0]
    assert isinstance(outcome, ProviderUnavailable)
    assert "no answer within 0.4 s" in str(outcome)


def test_a_stalled_try_is_put_again(build: Build, stub: FaultStub) -> None:
    """One try has its own limit, so that the next may succeed."""
    assert isinstance(ask(build("slowx1", request_timeout_seconds=2))[0], Completion)
    assert stub.calls["slowx1"] == 2


def test_an_unreachable_server_is_unavailable(kind: str) -> None:
    """Nothing listens there."""
    address = "http://127.0.0.1:9"
    values = settings(tgi_url=address, openai_url=address, openai_model="m", question_deadline_seconds=1.5)
    provider = build_provider(kind, values)
    outcome = ask(provider)[0]
    provider.close()
    assert isinstance(outcome, ProviderUnavailable)
    assert "cannot be reached" in str(outcome)


def test_the_circuit_opens_after_failures_in_a_row(build: Build, stub: FaultStub) -> None:
    """A server that is down is left alone: the rest of the batch is not asked."""
    provider = build("401", breaker_failures=3, breaker_pause_seconds=60, max_concurrent_questions=1)
    outcomes = ask(provider, 8)
    assert all(isinstance(outcome, ProviderUnavailable) for outcome in outcomes)
    assert sum("3 times in a row" in str(outcome) for outcome in outcomes) == 5
    assert stub.calls["401"] == 3


def test_refusals_do_not_open_the_circuit(build: Build, stub: FaultStub) -> None:
    """A server that refuses works."""
    ask(build("422", breaker_failures=2, max_concurrent_questions=1), 6)
    assert stub.calls["422"] == 6


def test_one_question_tries_a_paused_server() -> None:
    """After the pause one question passes, the others wait, however long it takes; a success closes the circuit."""
    now = [0.0]
    breaker = CircuitBreaker(2, 10.0, clock=lambda: now[0])
    for _ in range(2):
        breaker.leave(breaker.enter(), ProviderUnavailable("down"))
    with pytest.raises(ProviderUnavailable, match=r"asked again in 10\.0 s"):
        breaker.enter()
    now[0] = 10.5
    probe = breaker.enter()
    now[0] = 100.0
    with pytest.raises(ProviderUnavailable):
        breaker.enter()
    breaker.leave(probe, Completion("fine"))
    breaker.enter()


def test_a_probe_that_is_broken_off_lets_another_try() -> None:
    """Its caller went away: that says nothing of the server."""
    now = [0.0]
    breaker = CircuitBreaker(1, 10.0, clock=lambda: now[0])
    breaker.leave(breaker.enter(), ProviderUnavailable("down"))
    now[0] = 10.5
    breaker.leave(breaker.enter(), None)
    breaker.leave(breaker.enter(), Completion("fine"))
    assert not breaker.is_open()


def test_a_server_that_is_down_is_not_stormed(build: Build, stub: FaultStub) -> None:
    """While many questions wait and new ones come, only one try is made in each pause; then all are answered."""
    provider = build(
        "503x12",
        breaker_failures=3,
        breaker_pause_seconds=0.1,
        max_concurrent_questions=4,
        question_deadline_seconds=30,
    )
    asked, rounds = list(range(20)), 0
    while asked:
        outcomes = dict(zip(asked, ask(provider, len(asked)), strict=True))
        asked = [number for number, outcome in outcomes.items() if not isinstance(outcome, Completion)]
        assert all(isinstance(outcomes[number], ProviderUnavailable) for number in asked)
        rounds += 1
        assert rounds < 1000
        threading.Event().wait(0.01)
    assert stub.calls["503x12"] == 12 + 20
    at = stub.times["503x12"]
    in_first_burst = 3 + 4 - 1  # those that were under way when the third failed
    apart = [later - earlier for earlier, later in itertools.pairwise(at[in_first_burst:13])]
    assert min(apart) >= 0.1


def test_a_server_that_is_down_is_not_even_asked_for_its_model(build: Build, stub: FaultStub, kind: str) -> None:
    """Reading its limits is a try like any other, and many callers share one."""
    provider = build("401", breaker_failures=1, breaker_pause_seconds=60)
    ask(provider)
    before = sum(stub.reads.values())
    for _ in range(5):
        if kind == "tgi":
            with pytest.raises(ProviderUnavailable, match="in a row"):
                provider.model()
        else:
            provider.model()
    assert sum(stub.reads.values()) == before
    assert provider.is_paused()


@pytest.mark.parametrize("mode", ["422long", "400long", "413"])
def test_a_prompt_that_the_server_finds_too_long_is_said_so(build: Build, stub: FaultStub, mode: str) -> None:
    """In TGI's words and in those of OpenAI-style servers; it is not put again, and no word of the body is told on."""
    outcome = ask(build(mode))[0]
    assert isinstance(outcome, PromptTooLong)
    assert "Given" not in str(outcome)
    assert "4096" not in str(outcome)
    assert stub.calls[mode] == 1


def test_a_cut_body_is_put_again(build: Build, stub: FaultStub) -> None:
    """The connection ended before the answer did."""
    assert isinstance(ask(build("cutx2"))[0], Completion)
    assert stub.calls["cutx2"] == 3


@pytest.mark.parametrize("kind", ["tgi"], indirect=True)
def test_tgi_says_how_many_questions_it_takes_at_a_time(build: Build, stub: FaultStub) -> None:
    """Never more than the setting; read again when the model is asked again."""
    for told, most in [(2, 2), (50, 3)]:
        stub.most_running = 0
        stub.info["max_concurrent_requests"] = told
        provider = build("pausing", max_concurrent_questions=3)
        provider.model()
        assert all(isinstance(outcome, Completion) for outcome in ask(provider, 9))
        assert stub.most_running == most


@pytest.mark.parametrize("kind", ["tgi"], indirect=True)
@pytest.mark.parametrize(
    ("told", "most"),
    [
        ({}, None),
        ({"max_input_tokens": 1024, "max_total_tokens": 2048}, 1024),
        ({"max_input_tokens": 1024, "max_total_tokens": 1056}, 992),
        ({"max_input_tokens": "many", "max_total_tokens": 0}, None),
    ],
)
def test_tgi_says_how_long_a_prompt_may_be(
    build: Build, stub: FaultStub, told: dict[str, object], most: int | None
) -> None:
    """Prompt and answer, of 64 tokens here, share the total; what is no number is not told."""
    stub.info |= told
    provider = build("ok")
    provider.model()
    assert (provider.limits().new_tokens, provider.limits().prompt_tokens) == (64, most)


def test_limits_are_read_again_when_a_server_comes_back_different(
    build: Build, stub: FaultStub, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute at most."""
    module = importlib.import_module(type(build("ok")).__module__)
    monkeypatch.setattr(module, "INFO_VALID_SECONDS" if kind == "tgi" else "CONTEXT_VALID_SECONDS", 0.0)
    provider, seen = build("ok"), []
    for told in (4096, 1024):
        stub.info |= {"max_input_tokens": told - 64, "max_total_tokens": told}
        stub.models["data"][0]["max_model_len"] = told
        provider.model()
        seen.append(provider.limits().prompt_tokens)
    assert seen == [4096 - 64, 1024 - 64]


def test_answers_that_leave_no_room_for_a_prompt_are_a_matter_of_settings(build: Build, stub: FaultStub) -> None:
    """Not of the prompts: none of them is given up for it."""
    stub.info |= {"max_input_tokens": 60, "max_total_tokens": 60}
    stub.models["data"][0]["max_model_len"] = 60
    with pytest.raises(ProviderUnavailable, match="LORELINE_KNOWLEDGE_MAX_NEW_TOKENS"):
        build("ok").model()


@pytest.mark.parametrize("kind", ["openai"], indirect=True)
@pytest.mark.parametrize("told", [{}, {"data": 5}, {"data": [{"id": "other", "max_model_len": 10}]}])
def test_a_server_that_tells_no_context_has_no_limit(build: Build, stub: FaultStub, told: dict[str, object]) -> None:
    """Not every OpenAI-style server does."""
    stub.models = told
    provider = build("ok")
    assert provider.model() == "model-7b"
    assert provider.limits().prompt_tokens is None


def test_concurrency_stays_under_its_cap(build: Build, stub: FaultStub) -> None:
    """A batch does not overrun the server, and does use what it may."""
    outcomes = ask(build("pausing", max_concurrent_questions=3), 12)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert stub.most_running == 3


def test_one_bad_question_does_not_spoil_the_batch(build: Build) -> None:
    """Each question has its own outcome."""
    outcomes = ask(build("422x1", max_concurrent_questions=1), 4)
    assert [isinstance(outcome, Completion) for outcome in outcomes].count(True) == 3
    assert sum(isinstance(outcome, ProviderRefused) for outcome in outcomes) == 1


def test_a_closed_provider_answers_those_who_wait(build: Build) -> None:
    """A process that stops does not hang on a silent server."""
    provider = build("slow", question_deadline_seconds=60, max_concurrent_questions=1)
    answers = provider.generate(prompts(3), 0)
    outcome = _first_outcome_in_background(answers)
    provider.close()
    assert isinstance(outcome(), ProviderError)


def _first_outcome_in_background(answers: Iterator[tuple[int, ProviderOutcome]]) -> Callable[[], ProviderOutcome]:
    outcome: list[ProviderOutcome] = []
    started = threading.Event()

    def take() -> None:
        started.set()
        outcome.append(next(answers)[1])

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    started.wait()
    threading.Event().wait(0.2)  # the question must be on its way

    def wait() -> ProviderOutcome:
        thread.join(100)
        assert outcome, "the caller still waits"
        return outcome[0]

    return wait


def test_the_token_is_sent_and_none_is_made_up(build: Build, stub: FaultStub) -> None:
    """The configured token goes to the server, and never the machine's own one."""
    ask(build("ok", api_token="given-token"))
    ask(build("ok"))
    assert stub.tokens == ["Bearer given-token", "Bearer none"]


def test_readiness_follows_the_server(build: Build) -> None:
    """A server that answers with a fault is not ready."""
    assert build("ok").answers()
    assert not build("503").answers()


@pytest.mark.parametrize("kind", ["tgi"], indirect=True)
@pytest.mark.parametrize("sample", [0, 1])
def test_tgi_sends_every_parameter_that_steers_sampling(build: Build, stub: FaultStub, sample: int) -> None:
    """Left out, the server would sample: do_sample, max_new_tokens, seed and stop are always there."""
    ask(build("ok"), sample=sample)
    parameters = stub.bodies[0]["parameters"]
    assert parameters["do_sample"] is (sample == 1)
    assert parameters["max_new_tokens"] == 64
    assert parameters["seed"] == sample
    assert 1 <= len(parameters["stop"]) <= 4
    assert parameters["details"] is True
    assert ("temperature" in parameters and parameters["temperature"] is not None) is (sample == 1)


@pytest.mark.parametrize("kind", ["tgi"], indirect=True)
def test_tgi_puts_the_constant_instructions_first(build: Build, stub: FaultStub) -> None:
    """A server caches equal beginnings of prompts."""
    ask(build("ok"), 2)
    system = prompts()[0].system
    assert all(body["inputs"].startswith(system) for body in stub.bodies)


@pytest.mark.parametrize("kind", ["tgi"], indirect=True)
def test_tgi_asks_the_server_for_its_model(build: Build) -> None:
    """The model's id is part of the key."""
    assert build("ok").model() == "stub/model-7b"


@pytest.mark.parametrize("kind", ["openai"], indirect=True)
@pytest.mark.parametrize("sample", [0, 1])
def test_openai_sends_every_parameter_that_steers_sampling(build: Build, stub: FaultStub, sample: int) -> None:
    """Temperature left out would be sampled; a penalty is never sent."""
    ask(build("ok"), sample=sample)
    body = stub.bodies[0]
    assert (body["temperature"] == 0) is (sample == 0)
    assert body["max_tokens"] == 64
    assert body["seed"] == sample
    assert body["model"] == "model-7b"
    assert body.get("presence_penalty") is None
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(("name", "variable"), [("tgi", "TGI_URL"), ("openai", "OPENAI_URL")])
def test_a_provider_without_its_address_names_the_variable(name: str, variable: str) -> None:
    """The operator learns what to set."""
    with pytest.raises(ProviderUnavailable, match=f"LORELINE_KNOWLEDGE_{variable}"):
        build_provider(name, settings())
