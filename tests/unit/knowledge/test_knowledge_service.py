"""loreline.knowledge.v1 over real gRPC: limits, streams, reads, failures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
from knowledge_parts import item, user

from loreline.client import (
    InvalidArgumentError,
    KnowledgeClient,
    NotFoundError,
    ServiceUnavailableError,
)
from loreline.domain import HistoryEntry, Item, UserHistory
from tests.language_model_stub import TEXTS, FaultStub

Start = Callable[..., KnowledgeClient]


@pytest.fixture
def client(start: Start) -> KnowledgeClient:
    """A client of a service with the catalogue as default."""
    return start()


BAD_ITEMS = {
    "empty id": (item(""), "items[0].item_id"),
    "long id": (item("é" * 65), "items[0].item_id"),
    "control character in id": (item("a\nb"), "items[0].item_id"),
    "empty title": (item(title=""), "items[0].title"),
    "blank title": (item(title="  "), "items[0].title"),
    "long title": (item(title="x" * 513), "items[0].title"),
    "NaN attribute": (item(year=math.nan), "items[0].attributes['year']"),
    "infinite attribute": (item(year=math.inf), "items[0].attributes['year']"),
    "long text": (item(plot="x" * 8193), "items[0].attributes['plot']"),
    "long list": (item(genres=["x"] * 65), "items[0].attributes['genres']"),
    "long list entry": (item(genres=["x" * 513]), "items[0].attributes['genres']"),
    "long attribute name": (item(**{"n" * 65: "x"}), f"items[0].attributes['{'n' * 64}']"),
    "many attributes": (item(**{f"a{n}": "x" for n in range(65)}), "items[0].attributes"),
    "other scenario": (dataclasses.replace(item(), scenario="books"), "items[0].scenario"),
    "no scenario": (dataclasses.replace(item(), scenario=""), "items[0].scenario"),
}


@pytest.mark.parametrize(("bad", "field"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_a_bad_item_is_refused_by_the_name_of_its_field(client: KnowledgeClient, bad: Item, field: str) -> None:
    """INVALID_ARGUMENT with one violation that says where and what was expected."""
    with pytest.raises(InvalidArgumentError) as refused:
        list(client.generate_for_items("movies", [bad]))
    assert [name for name, _ in refused.value.violations] == [field]
    assert all("must" in expected for _, expected in refused.value.violations)


@pytest.mark.parametrize("scenario", ["", "nonsense", "../movies"])
def test_an_unknown_scenario_is_refused_with_those_there_are(client: KnowledgeClient, scenario: str) -> None:
    """The caller learns the names."""
    with pytest.raises(InvalidArgumentError, match="movies") as refused:
        list(client.generate_for_items(scenario, [item()]))
    assert refused.value.violations[0][0] == "scenario"


def test_an_unknown_provider_is_refused_with_those_there_are(client: KnowledgeClient) -> None:
    """Also for users."""
    for call in (
        client.generate_for_items("movies", [item()], provider="oracle"),
        client.generate_for_users("movies", [user()], provider="oracle"),
    ):
        with pytest.raises(
            InvalidArgumentError, match="catalogue, embedded, embedded-llama-cpp, openai, tgi"
        ) as refused:
            list(call)
        assert refused.value.violations[0][0] == "provider"


@pytest.mark.parametrize("count", [0, 257])
def test_a_batch_out_of_its_limits_is_refused(client: KnowledgeClient, count: int) -> None:
    """1 to 256 items or users."""
    with pytest.raises(InvalidArgumentError, match=f"items: must hold 1 to 256 entries, holds {count}"):
        list(client.generate_for_items("movies", [item(str(number)) for number in range(count)]))
    with pytest.raises(InvalidArgumentError, match=f"users: must hold 1 to 256 entries, holds {count}"):
        list(client.generate_for_users("movies", [user(str(number)) for number in range(count)]))


def test_equal_ids_in_one_batch_are_refused(client: KnowledgeClient) -> None:
    """Answers are told apart by their ids."""
    with pytest.raises(InvalidArgumentError) as refused:
        list(client.generate_for_items("movies", [item("1"), item("2"), item("1")]))
    assert refused.value.violations == [("items[2].item_id", "must be unique, is also that of items[0]")]


def _rated(rating: float) -> UserHistory:
    return UserHistory("7", [HistoryEntry(item(), rating)])


BAD_USERS = {
    "empty id": (user(""), "users[0].user_id"),
    "no entries": (UserHistory("7", []), "users[0].entries"),
    "many entries": (user(ratings=[3.0] * 513), "users[0].entries"),
    "rating too high": (_rated(6), "users[0].entries[0].rating"),
    "rating zero": (_rated(0), "users[0].entries[0].rating"),
    "NaN rating": (_rated(math.nan), "users[0].entries[0].rating"),
    "bad item": (UserHistory("7", [HistoryEntry(item(title=""))]), "users[0].entries[0].item.title"),
    "NaN attribute": (UserHistory("7", [HistoryEntry(item())], {"age": math.nan}), "users[0].attributes['age']"),
}


@pytest.mark.parametrize(("bad", "field"), BAD_USERS.values(), ids=BAD_USERS.keys())
def test_a_bad_user_is_refused_by_the_name_of_its_field(client: KnowledgeClient, bad: UserHistory, field: str) -> None:
    """As for items, with the path into the history."""
    with pytest.raises(InvalidArgumentError) as refused:
        list(client.generate_for_users("movies", [bad]))
    assert [name for name, _ in refused.value.violations] == [field]


def test_a_request_wrong_in_many_places_names_the_first_twenty(client: KnowledgeClient) -> None:
    """A status must stay small."""
    with pytest.raises(InvalidArgumentError) as refused:
        list(client.generate_for_items("movies", [item(str(number), title="") for number in range(100)]))
    assert len(refused.value.violations) == 20


def test_a_full_batch_streams_one_answer_for_each_item(client: KnowledgeClient) -> None:
    """256 items, each with knowledge and provenance."""
    batch = [item(str(number), f"Film {number}") for number in range(256)]
    answers = {answer.subject_id: answer for answer in client.generate_for_items("movies", batch)}
    assert sorted(answers) == sorted(entry.item_id for entry in batch)
    first = answers["0"].knowledge
    assert first is not None
    assert "Film 0" in first.text
    assert (first.provenance.provider, first.provenance.model) == ("catalogue", "template")
    assert "genre" in first.provenance.factors
    assert first.provenance.scenario == "movies"


def test_generated_knowledge_can_be_read(client: KnowledgeClient) -> None:
    """What the stream gave is what a read gives, for items and users apart."""
    item_answer = next(client.generate_for_items("movies", [item("7")]))
    user_answer = next(client.generate_for_users("movies", [user("7")]))
    assert client.item_knowledge("7") == item_answer.knowledge
    assert client.user_knowledge("7") == user_answer.knowledge
    assert client.item_knowledge("7") != client.user_knowledge("7")


def test_unknown_subjects_are_not_found(client: KnowledgeClient) -> None:
    """The message names what was looked for."""
    with pytest.raises(NotFoundError, match="knowledge of item 'nobody'"):
        client.item_knowledge("nobody")
    with pytest.raises(NotFoundError, match="knowledge of user 'nobody'"):
        client.user_knowledge("nobody")


@pytest.mark.parametrize("subject_id", ["", "x" * 129, "a\x00b"])
def test_reads_check_their_id(client: KnowledgeClient, subject_id: str) -> None:
    """An id out of its limits is a bad request, not a missing one."""
    with pytest.raises(InvalidArgumentError) as refused:
        client.item_knowledge(subject_id)
    assert refused.value.violations[0][0] == "item_id"
    with pytest.raises(InvalidArgumentError) as refused:
        client.user_knowledge(subject_id)
    assert refused.value.violations[0][0] == "user_id"


def test_a_second_request_is_reused(client: KnowledgeClient) -> None:
    """And says so."""
    assert [next(client.generate_for_items("movies", [item()])).reused for _ in range(2)] == [False, True]


def test_a_restarted_service_reuses_what_it_wrote(start: Start) -> None:
    """Over the same file."""
    list(start().generate_for_items("movies", [item()]))
    assert next(start().generate_for_items("movies", [item()])).reused


def test_a_model_that_is_down_is_an_answer_of_its_own(start: Start, stub: FaultStub) -> None:
    """Not a failed call, and no fallback: the caller retries that item."""
    client = start(tgi_url=stub.url("503"), default_provider="tgi", question_deadline_seconds=0.3)
    answers = list(client.generate_for_items("movies", [item("1"), item("2", "Loud Planet")]))
    assert [answer.failure.reason for answer in answers if answer.failure] == ["UNAVAILABLE"] * 2


def test_a_model_that_loops_is_asked_twice_and_replaced(start: Start, stub: FaultStub) -> None:
    """Through the whole service: tgi loops, samples again, the catalogue writes."""
    client = start(tgi_url=stub.url("looping"), default_provider="tgi")
    knowledge = next(client.generate_for_items("movies", [item()])).knowledge
    assert knowledge is not None
    assert knowledge.provenance.provider == "catalogue"
    assert "looping" in knowledge.provenance.fallback_reason
    assert [body["parameters"]["do_sample"] for body in stub.bodies] == [False, True]


def test_provenance_records_what_the_server_said(start: Start, stub: FaultStub) -> None:
    """Model, tokens, finish reason and parameters of a real exchange; the text ends with a whole sentence."""
    client = start(tgi_url=stub.url("length"))
    knowledge = next(client.generate_for_items("movies", [item()], provider="tgi")).knowledge
    assert knowledge is not None
    source = knowledge.provenance
    assert (source.provider, source.model, source.finish_reason) == ("tgi", "stub/model-7b", "length")
    assert (source.prompt_tokens, source.completion_tokens) == (40, 23)
    assert '"do_sample":false' in source.parameters_json
    assert knowledge.text == TEXTS["length"].removesuffix(" And then")


def test_a_caller_that_gives_up_gets_its_deadline(start: Start, stub: FaultStub) -> None:
    """A silent model does not hold a caller beyond the time it gave."""
    client = start(tgi_url=stub.url("slow"), default_provider="tgi", question_deadline_seconds=5)
    client.timeout_seconds = 0.5
    with pytest.raises(ServiceUnavailableError, match="DEADLINE_EXCEEDED"):
        list(client.generate_for_items("movies", [item()]))
    stub.released.set()
