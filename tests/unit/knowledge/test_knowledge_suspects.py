"""Texts that are kept and never served: what makes a suspect, who may see it, and what is answered instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from knowledge_parts import GOOD_TEXT, ScriptedProvider, asker_over, good, item, pool_of, user

from loreline.client import InvalidArgumentError, KnowledgeClient
from loreline.client.errors import client_errors
from loreline.client.knowledge import Suspect
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt
from services.knowledge.providers import Completion, Provider, ProviderOutcome
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore
from services.runtime.errors import NotFound
from tests.language_model_stub import FaultStub

Start = Callable[..., KnowledgeClient]
Make = Callable[..., KnowledgeGenerator]
LIE = f"{GOOD_TEXT} The film was released in 1950."


def lying(_prompt: Prompt, _sample: int) -> ProviderOutcome:
    """Every sample denies the year of the item, 1994."""
    return Completion(LIE, 50, 40, "stop")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KnowledgeStore]:
    opened = KnowledgeStore(tmp_path / "knowledge.db")
    yield opened
    opened.close()


@pytest.fixture
def suspects(store: KnowledgeStore) -> SuspectStore:
    return SuspectStore(store.database)


@pytest.fixture
def make(store: KnowledgeStore, suspects: SuspectStore) -> Make:
    """A generator over a scripted provider, with the catalogue to fall back to."""

    def build(scripted: Provider, fallback: str = "catalogue") -> KnowledgeGenerator:
        pool = pool_of(scripted, "catalogue")
        return KnowledgeGenerator(store, pool, asker_over(store), KnowledgeMetrics(), "scripted", fallback)

    return build


def kept(suspects: SuspectStore) -> list[Suspect]:
    """All that is kept."""
    return list(suspects.newest("", "", 1000))


def test_a_text_that_denies_an_attribute_is_replaced_and_kept_apart(make: Make, suspects: SuspectStore) -> None:
    """Asked once more, then written by the fallback, which says why; both lies are in the table as one."""
    generator, provider = make(scripted := ScriptedProvider(lying)), scripted
    answer = next(generator.generate_for_items("movies", [item()]))
    assert answer.knowledge is not None
    source = answer.knowledge.provenance
    assert (source.provider, source.fallback_reason) == (
        "catalogue",
        "contradiction: the text names another year than the item",
    )
    assert generator.item_knowledge("1") == answer.knowledge
    assert provider.asked == [("1", 0), ("1", 1)]
    found = kept(suspects)
    assert [(one.subject_kind, one.subject_id, one.reason) for one in found] == [("item", "1", "CONTRADICTION")]
    assert found[0].knowledge.text == LIE
    assert found[0].knowledge.provenance.provider == "scripted"
    assert "1950" in found[0].detail


def test_a_new_sample_that_tells_the_truth_is_served(make: Make, suspects: SuspectStore) -> None:
    """The first one stays among the suspects."""
    provider = ScriptedProvider(lambda prompt, sample: good(prompt, 1) if sample else lying(prompt, 0))
    answer = next(make(provider).generate_for_items("movies", [item()]))
    assert answer.knowledge is not None
    assert answer.knowledge.text == GOOD_TEXT
    assert len(kept(suspects)) == 1


def test_without_a_fallback_a_suspect_is_a_failure_of_its_own(make: Make) -> None:
    """And nothing can be read of it."""
    generator = make(ScriptedProvider(lying), "")
    answer = next(generator.generate_for_items("movies", [item()]))
    assert answer.failure is not None
    assert answer.failure.reason == "SUSPECT"
    assert answer.failure.detail.startswith("contradiction: ")
    with pytest.raises(NotFound):
        generator.item_knowledge("1")


@pytest.mark.parametrize("text", [f"<|im_start|>assistant {GOOD_TEXT}", f"{GOOD_TEXT}\nUser: and then\ud800?"])
def test_an_echo_of_the_chat_is_a_suspect_as_it_was_written(make: Make, suspects: SuspectStore, text: str) -> None:
    """Users' texts too; half a character is made good."""
    provider = ScriptedProvider(lambda *_: Completion(text))
    next(make(provider).generate_for_users("movies", [user()]))
    found = kept(suspects)
    assert [(one.subject_kind, one.reason) for one in found] == [("user", "PROMPT_ECHO")]
    assert found[0].knowledge.text == text.replace("\ud800", "?")


def test_the_same_suspect_is_kept_once(make: Make, suspects: SuspectStore) -> None:
    """However often it is asked for."""
    generator = make(ScriptedProvider(lying), "")
    for _ in range(3):
        list(generator.generate_for_items("movies", [item()]))
    assert len(kept(suspects)) == 1


def test_suspects_can_be_chosen_by_scenario_and_reason(make: Make, suspects: SuspectStore) -> None:
    """Newest first, and no more than asked for."""
    for number in range(3):
        list(make(ScriptedProvider(lying)).generate_for_items("movies", [item(str(number), f"Film {number}")]))
    list(make(ScriptedProvider(lambda *_: Completion("[INST]"))).generate_for_items("movies", [item("9")]))
    assert [one.subject_id for one in suspects.newest("movies", "", 10)] == ["9", "2", "1", "0"]
    assert [one.subject_id for one in suspects.newest("", "CONTRADICTION", 2)] == ["2", "1"]
    assert list(suspects.newest("books", "", 10)) == []


def test_suspects_are_listed_over_grpc(start: Start, stub: FaultStub) -> None:
    """With text, provenance, reason and detail."""
    client = start(default_provider="tgi", tgi_url=stub.url("echoing"))
    list(client.generate_for_items("movies", [item()]))
    found = list(client.suspects("movies", "PROMPT_ECHO"))
    assert [(one.subject_id, one.reason) for one in found] == [("1", "PROMPT_ECHO")]
    assert found[0].knowledge.provenance.model == "stub/model-7b"
    assert list(client.suspects("books")) == []
    assert client.item_knowledge("1").provenance.provider == "catalogue"


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [({"scenario": "nonsense"}, "scenario"), ({"most": 1001}, "most"), ({"reason": 99}, "reason")],
)
def test_a_listing_out_of_its_limits_is_refused_by_the_name_of_its_field(
    start: Start, request_fields: dict[str, object], field: str
) -> None:
    """Also a reason that the contract does not know."""
    request = knowledge_pb2.ListSuspectsRequest(**request_fields)
    with (
        grpc.insecure_channel(start().address) as channel,
        pytest.raises(InvalidArgumentError) as refused,
        client_errors(),
    ):
        list(knowledge_pb2_grpc.KnowledgeServiceStub(channel).ListSuspects(request, timeout=100))
    assert refused.value.violations[0][0] == field
