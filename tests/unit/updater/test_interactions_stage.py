"""The stage that keeps users' histories complete, over a real features service."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loreline.client import FeaturesClient, InvalidArgumentError
from loreline.domain import Interaction
from services.updater.events import Logged, Requested
from services.updater.stages import InteractionsStage
from tests.unit.updater.stage_parts import Parts, stamp, watched


@pytest.fixture
def parts(features: FeaturesClient) -> Parts:
    """What the stage talks to."""
    return Parts(features)


@pytest.fixture
def stage(parts: Parts) -> InteractionsStage:
    """The stage."""
    return InteractionsStage(parts.features, parts.popularity, parts.metrics)


def test_interactions_are_in_the_history_by_time(stage: InteractionsStage, parts: Parts, unique_name: str) -> None:
    """Whatever the order in which they came; one that came twice is there once."""
    events = [Logged(watched(unique_name, f"f{minute}", minute)) for minute in (3, 1, 2, 1)]
    assert stage.handle(events) == {}
    user = parts.features.user(unique_name).user
    assert (user.item_ids, user.ratings) == (["f1", "f2", "f3"], [4.0, 4.0, 4.0])
    assert parts.metric("events_total", stage="interactions", outcome="applied") == 3
    assert parts.metric("events_total", stage="interactions", outcome="duplicate") == 1


def test_a_request_is_passed_over(stage: InteractionsStage, parts: Parts, unique_name: str) -> None:
    """It is for the preferences stage."""
    assert stage.handle([Requested(stamp("asked"), unique_name, "movies")]) == {}
    assert parts.features.user(unique_name).history_status == "NOT_FOUND"


def test_an_interaction_makes_its_item_more_popular_once(
    stage: InteractionsStage, parts: Parts, unique_name: str
) -> None:
    """One that comes again counts no second time."""
    event = Logged(watched(unique_name, f"film-of-{unique_name}", 1))
    stage.handle([event])
    stage.handle([event])
    assert parts.popularity.of(f"film-of-{unique_name}") == pytest.approx(1, rel=0.01)


class RefusingFeatures:
    """Refuses every call that holds an interaction of `bad`, and keeps the others."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def append_interactions(self, interactions: Sequence[Interaction]) -> list[str]:
        """As the client does."""
        if any(one.user_id == "bad" for one in interactions):
            raise InvalidArgumentError("INVALID_ARGUMENT", "interactions[1].user_id: no good", [])
        self.kept += [one.user_id for one in interactions]
        return ["APPLIED"] * len(interactions)


def test_an_interaction_that_features_refuses_is_poison_and_harms_no_other(parts: Parts) -> None:
    """The others are stored."""
    features = RefusingFeatures()
    stage = InteractionsStage(features, parts.popularity, parts.metrics)
    poisons = stage.handle([Logged(watched(user, "f1", minute)) for minute, user in enumerate(("a", "bad", "c"))])
    assert {position: poison.reason for position, poison in poisons.items()} == {1: "INVALID"}
    assert features.kept == ["a", "c"]
