"""The stage of users' preferences, over a real features service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kafka.errors import KafkaTimeoutError

from loreline.catalog.v1 import catalog_pb2
from loreline.client import Failure, FeaturesClient
from loreline.domain import Interaction
from services.updater.events import Logged, Requested
from services.updater.outcomes import Later, Passed
from services.updater.preferences_stage import PreferencesStage
from services.updater.settings import UpdaterSettings
from services.updater.stage_builders import preferences_stage
from services.updater.token_bucket import TokenBucket
from tests.unit.updater.stage_parts import Parts, film, stamp, watched

Watch = Callable[[str, int], Logged]


@pytest.fixture
def parts(features: FeaturesClient) -> Parts:
    """What the stage talks to; ten films and a book are stored."""
    items = [*[film(f"f{number}") for number in range(10)], film("b0", "books")]
    features.put_contents([(stamp(f"content-{item.item_id}"), item) for item in items])
    return Parts(features)


@pytest.fixture
def stage(parts: Parts, updater_settings: UpdaterSettings) -> PreferencesStage:
    """The stage, as main builds it."""
    return preferences_stage(updater_settings, parts.connections)


@pytest.fixture
def watch(parts: Parts) -> Watch:
    """Stores a user's interactions up to a number, and returns the event of the last one."""

    def store(user_id: str, count: int) -> Logged:
        seen = [watched(user_id, f"f{minute % 10}", minute) for minute in range(count)]
        parts.features.append_interactions(seen)
        return Logged(seen[-1])

    return store


def asked_about(parts: Parts) -> list[str]:
    """The users that the language model was asked about."""
    return [user.user_id for users in parts.knowledge.asked for user in users]


def test_a_user_with_enough_interactions_is_given_preferences(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """Stored as the answer to the newest interaction, and told on both topics."""
    last = watch(unique_name, 5)
    assert stage.enrich([last]) == [None]
    described = parts.features.describe_user(unique_name)
    assert described.knowledge is not None
    assert described.knowledge.text == f"Of {unique_name}."
    assert (described.knowledge_event, described.interactions_since_knowledge) == (last.stamp, 0)
    [told] = parts.producer.on("enriched")
    event = catalog_pb2.CatalogEvent.FromString(told.value or b"")
    assert (event.event_id, event.user_enriched.user_id) == (last.stamp.event_id, unique_name)
    assert parts.producer.knowledge == {f"user/{unique_name}": f"Of {unique_name}."}
    assert parts.metric("refreshes_total", cause="first") == 1


def test_preferences_that_were_stored_and_not_told_are_told_when_the_event_comes_again(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """The process may have ended in between; the language model is not asked again."""
    last = watch(unique_name, 5)
    parts.producer.broken = KafkaTimeoutError("no broker")
    with pytest.raises(KafkaTimeoutError):
        stage.enrich([last])
    parts.producer.broken = None
    assert stage.enrich([last]) == [Passed("NOT_DUE")]
    assert parts.producer.knowledge == {f"user/{unique_name}": f"Of {unique_name}."}
    [told] = parts.producer.on("enriched")
    event = catalog_pb2.CatalogEvent.FromString(told.value or b"")
    assert (event.event_id, event.user_enriched.source.encoder) == (last.stamp.event_id, "small")
    assert event.user_enriched.source.model_version == "1"
    assert len(asked_about(parts)) == 1


def test_preferences_that_were_not_told_are_told_when_a_newer_interaction_stands_for_the_one_they_answer(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """After a restart both are read again, and only the newer is handled."""
    answered = watch(unique_name, 5)
    parts.producer.broken = KafkaTimeoutError("no broker")
    with pytest.raises(KafkaTimeoutError):
        stage.enrich([answered])
    parts.producer.broken = None
    newer = replace(watch(unique_name, 6), since=answered.stamp)
    assert stage.enrich([newer]) == [Passed("NOT_DUE")]
    assert parts.producer.knowledge == {f"user/{unique_name}": f"Of {unique_name}."}


def test_an_interaction_that_comes_after_the_preferences_tells_nothing_again(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """Else every interaction would write both topics."""
    stage.enrich([watch(unique_name, 5)])
    assert stage.enrich([watch(unique_name, 6)]) == [Passed("NOT_DUE")]
    assert len(parts.producer.on("enriched")) == 1


def test_a_user_with_too_few_is_passed_over_without_a_call(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """The next interactions are looked at anew."""
    assert stage.enrich([watch(unique_name, 4)]) == [Passed("NOT_DUE")]
    assert (parts.knowledge.asked, parts.producer.records) == ([], [])
    assert parts.metric("events_total", stage="preferences", outcome="not_due") == 1


def test_preferences_are_refreshed_after_enough_new_interactions(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """Not before."""
    stage.enrich([watch(unique_name, 5)])
    assert stage.enrich([watch(unique_name, 14)]) == [Passed("NOT_DUE")]
    assert stage.enrich([watch(unique_name, 15)]) == [None]
    assert parts.metric("refreshes_total", cause="interactions") == 1


def test_old_preferences_are_refreshed_with_the_next_interaction(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """Old by the time at which they were stored."""
    stage.enrich([watch(unique_name, 5)])
    in_a_week = datetime.now(UTC) + timedelta(hours=169)
    later = replace(stage, now=lambda: in_a_week)
    assert later.enrich([watch(unique_name, 6)]) == [None]
    assert parts.metric("refreshes_total", cause="age") == 1


def test_a_request_is_followed_whatever_the_policy_says(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """A single interaction is enough."""
    watch(unique_name, 1)
    assert stage.enrich([Requested(stamp("asked", 60), unique_name, "movies")]) == [None]
    assert parts.metric("refreshes_total", cause="requested") == 1


def test_an_interaction_that_is_not_stored_yet_is_waited_for(
    stage: PreferencesStage, watch: Watch, unique_name: str
) -> None:
    """The interactions stage may be slower."""
    unknown = Logged(watched(f"{unique_name}-unknown", "f1", 0))
    watch(unique_name, 5)
    ahead = Logged(watched(unique_name, "f1", 7))
    waiting = stage.enrich([unknown, ahead])
    assert [outcome.reason for outcome in waiting if isinstance(outcome, Later)] == ["MISSING_CONTENT"] * 2


def test_only_interactions_of_the_scenario_are_told(stage: PreferencesStage, parts: Parts, unique_name: str) -> None:
    """Its prompt speaks of nothing else, and of so many of the newest alone."""
    seen = [watched(unique_name, f"f{minute}", minute) for minute in range(5)]
    book = Interaction(stamp(f"{unique_name}-b", 9), unique_name, "b0", "books", 4.0)
    parts.features.append_interactions([*seen, book])
    narrow = replace(stage, entries=4)
    assert narrow.enrich([Logged(seen[-1])]) == [None]
    [[user]] = parts.knowledge.asked
    assert [entry.item.item_id for entry in user.entries] == ["f2", "f3", "f4"]


def test_a_user_of_whose_items_none_is_known_is_passed_over(
    stage: PreferencesStage, parts: Parts, unique_name: str
) -> None:
    """There is nothing to tell."""
    seen = [watched(unique_name, f"nowhere-{minute}", minute) for minute in range(5)]
    parts.features.append_interactions(seen)
    assert stage.enrich([Logged(seen[-1])]) == [Passed("NOT_DUE")]


def test_beyond_the_rate_users_wait_for_the_next_token(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """Users who are not due take no token."""
    limited = replace(stage, limit=TokenBucket(60, lambda: 0.0))
    few, first, second = (watch(f"{unique_name}-{n}", count) for n, count in enumerate((2, 5, 5)))
    assert limited.enrich([few, first, second]) == [
        Passed("NOT_DUE"),
        None,
        Later("RATE_LIMITED", pause_seconds=60.0),
    ]
    assert asked_about(parts) == [first.subject_id]


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "BUDGET_SPENT"])
def test_a_question_that_was_not_answered_costs_no_token(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str, reason: str
) -> None:
    """It is asked again, and only then counted."""
    limited = replace(stage, limit=TokenBucket(60, lambda: 0.0))
    last = watch(unique_name, 5)
    parts.knowledge.failures[unique_name] = Failure(reason, "later")
    assert limited.enrich([last]) == [Later(reason, "later")]
    del parts.knowledge.failures[unique_name]
    assert limited.enrich([last]) == [None]
    assert parts.metric("refreshes_total", cause="first") == 1


def test_a_suspect_is_finished_and_counted(
    stage: PreferencesStage, parts: Parts, watch: Watch, unique_name: str
) -> None:
    """The user keeps the preferences there were."""
    parts.knowledge.failures[unique_name] = Failure("SUSPECT", "an echo of the prompt")
    assert stage.enrich([watch(unique_name, 5)]) == [Passed("SUSPECT")]
    assert parts.metric("suspects_total", stage="preferences") == 1
