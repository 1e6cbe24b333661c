"""Groups of items and users as subjects: prompts, limits, answers, content."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from knowledge_parts import item, user

from loreline.client import InvalidArgumentError, KnowledgeClient
from loreline.domain import Cluster, HistoryEntry, Item, UserHistory
from services.knowledge.prompts import MissingPrompt, PromptStyle, render
from services.knowledge.providers.catalogue import compose
from services.knowledge.text_checks import accept
from services.scenarios import Scenario, load_scenario, scenario_names
from tests.language_model_stub import FaultStub

Start = Callable[..., KnowledgeClient]


@pytest.fixture(params=scenario_names())
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return load_scenario(request.param)


def group(kind: str, cluster_id: str = "c1", scenario: str = "movies", rating: float = 1.0) -> Cluster:
    """Two similar items, or what users of one group rated."""
    items = [
        Item(str(n), scenario, title, {"genres": ["Drama"], "categories": ["Drama"], "section": "Drama"})
        for n, title in enumerate(["Night Train", "Long Harvest"])
    ]
    return Cluster(cluster_id, kind, [HistoryEntry(entry, rating if kind == "user" else None) for entry in items])


@pytest.mark.parametrize("kind", ["item", "user"])
def test_cluster_prompts_ask_for_every_factor_and_show_the_members(scenario: Scenario, kind: str) -> None:
    """Of every shipped scenario."""
    prompt = render(group(kind, scenario=scenario.name, rating=scenario.maximum_rating), scenario, PromptStyle.OPEN)
    assert all(factor in prompt.user for factor in scenario.factors)
    assert '"Night Train"' in prompt.user
    assert '"Long Harvest"' in prompt.user
    assert not any(mark in prompt.user for mark in ("{{", "{%", "None"))


@pytest.mark.parametrize("kind", ["item", "user"])
def test_small_models_go_on_from_an_opening(scenario: Scenario, kind: str) -> None:
    """As for a user who has the history of the group."""
    subject = group(kind, scenario=scenario.name, rating=scenario.maximum_rating)
    assert render(subject, scenario, PromptStyle.GROUNDED).opening


@pytest.mark.parametrize("kind", ["item", "user"])
def test_content_can_stand_in_for_a_cluster(scenario: Scenario, kind: str) -> None:
    """The catalogue's text passes the checks and names members."""
    subject = group(kind, scenario=scenario.name, rating=scenario.maximum_rating)
    text = compose(subject, scenario)
    assert accept(text, render(subject, scenario, PromptStyle.FACTS), "stop") == text
    assert "Night Train" in text


def test_items_and_users_of_a_cluster_are_asked_about_differently() -> None:
    """Ratings are told of users only."""
    movies = load_scenario("movies")
    texts = [render(group(kind), movies, PromptStyle.OPEN).user for kind in ("item", "user")]
    assert '"Night Train"; categories: Drama; genres: Drama' in texts[0]
    assert '"Night Train", 1' in texts[1]


def test_a_scenario_without_cluster_prompts_cannot_be_asked() -> None:
    """The message names scenario and prompt."""
    bare = dataclasses.replace(load_scenario("movies"), user_cluster_prompt=None)
    with pytest.raises(MissingPrompt, match="movies has no prompt user_cluster"):
        render(group("user"), bare, PromptStyle.OPEN)


def test_clusters_are_answered_and_kept(start: Start, stub: FaultStub) -> None:
    """One question a cluster, over gRPC; the second time none."""
    client = start(tgi_url=stub.url("ok"), default_provider="tgi")
    for reused in (False, True):
        answers = list(client.generate_for_clusters("movies", [group("item", "a"), group("user", "b")]))
        assert sorted(answer.subject_id for answer in answers) == ["a", "b"]
        assert all(answer.knowledge and answer.reused is reused for answer in answers)
    assert len(stub.bodies) == 2


def test_a_cluster_is_no_item_and_no_user(start: Start) -> None:
    """Equal ids and entries of a user, an item cluster and a user cluster are three questions."""
    client = start()
    entries = [HistoryEntry(item())]
    answers = [
        next(client.generate_for_users("movies", [UserHistory("7", entries)])),
        next(client.generate_for_clusters("movies", [Cluster("7", "user", entries)])),
        next(client.generate_for_clusters("movies", [Cluster("7", "item", entries)])),
    ]
    assert len({answer.knowledge.provenance.key for answer in answers if answer.knowledge}) == 3
    assert client.user_knowledge("7") == answers[0].knowledge


BAD = {
    "no kind": (Cluster("c", "", user().entries), "clusters[0].kind"),
    "no entries": (Cluster("c", "item", []), "clusters[0].entries"),
    "empty id": (Cluster("", "item", user().entries), "clusters[0].cluster_id"),
    "rating too high": (group("user", rating=6), "clusters[0].entries[0].rating"),
    "bad item": (Cluster("c", "item", [HistoryEntry(item(title=""))]), "clusters[0].entries[0].item.title"),
}


@pytest.mark.parametrize(("bad", "field"), BAD.values(), ids=BAD.keys())
def test_a_bad_cluster_is_refused_by_the_name_of_its_field(start: Start, bad: Cluster, field: str) -> None:
    """INVALID_ARGUMENT with the path."""
    with pytest.raises(InvalidArgumentError) as refused:
        list(start().generate_for_clusters("movies", [bad]))
    assert refused.value.violations[0][0] == field
