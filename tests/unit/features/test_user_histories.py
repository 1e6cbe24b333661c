"""Histories that grow by events, through the client, over SQLite and Redis."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from loreline.client import InvalidArgumentError
from loreline.domain import Interaction
from tests.unit.features.conftest import Features, Start
from tests.unit.features.feature_samples import NOON, stamp, vectors, watched

FULL = 512


def items_of(features: Features, user_id: str = "u1") -> list[str]:
    """The items of the history that ranking reads, oldest first."""
    return features.client.user(user_id).user.item_ids


class TestOrder:
    """Where an interaction goes."""

    def test_an_interaction_is_read_by_ranking_at_once(self, features: Features) -> None:
        """Item, rating and time stand in the packed history."""
        assert features.client.append_interactions([watched("e1", 1, "m7", rating=3.5)]) == ["APPLIED"]
        read = features.client.user("u1")
        assert (read.user.item_ids, read.user.ratings) == (["m7"], [3.5])
        assert read.user.times == [int(NOON.timestamp()) + 60]
        assert (read.history_status, read.knowledge_status) == ("PRESENT", "NULL")

    def test_a_missing_rating_is_zero(self, features: Features) -> None:
        """The packed history has no other word for it."""
        features.client.append_interactions([watched("e1", rating=None)])
        assert features.client.user("u1").user.ratings == [0]

    def test_a_late_interaction_goes_where_it_belongs(self, features: Features) -> None:
        """The time of the event decides, not its arrival."""
        features.client.append_interactions([watched("e1", 1, "a"), watched("e3", 3, "c")])
        assert features.client.append_interactions([watched("e2", 2, "b")]) == ["APPLIED"]
        assert items_of(features) == ["a", "b", "c"]

    def test_equal_times_are_ordered_by_event_id(self, features: Features) -> None:
        """So that every order of arrival ends the same."""
        features.client.append_interactions([watched("y", 1, "b"), watched("x", 1, "a"), watched("z", 1, "c")])
        assert items_of(features) == ["a", "b", "c"]

    def test_the_same_event_again_is_a_duplicate(self, features: Features) -> None:
        """Within a request, and in a later one."""
        first = watched("e1", 1, "a")
        assert features.client.append_interactions([first, first]) == ["APPLIED", "DUPLICATE"]
        assert features.client.append_interactions([first, watched("e2", 2, "a")]) == ["DUPLICATE", "APPLIED"]
        assert items_of(features) == ["a", "a"]

    def test_users_do_not_mix(self, features: Features) -> None:
        """One event id may stand in two users' histories."""
        both = [watched("e1", user_id="u1", item_id="a"), watched("e1", user_id="u2", item_id="b")]
        assert features.client.append_interactions(both) == ["APPLIED", "APPLIED"]
        assert (items_of(features, "u1"), items_of(features, "u2")) == (["a"], ["b"])

    def test_knowledge_stays_when_the_history_grows(self, features: Features) -> None:
        """Preferences are refreshed by their own event."""
        features.client.put_user_knowledge("u1", stamp("k1"), vectors())
        features.client.append_interactions([watched("e1", 1)])
        assert list(features.client.user("u1").user.augmented) == ["1"]


class TestBound:
    """512 entries."""

    def test_the_oldest_goes_when_a_full_history_grows(self, features: Features) -> None:
        """And what is older than all that is kept is stale."""
        events = [watched(f"e{n}", n, f"m{n}") for n in range(FULL + 1)]
        assert features.client.append_interactions(events) == ["APPLIED"] * (FULL + 1)
        assert items_of(features) == [f"m{n}" for n in range(1, FULL + 1)]
        assert features.client.append_interactions([events[0], watched("old", -5)]) == ["STALE", "STALE"]
        assert len(items_of(features)) == FULL

    @pytest.mark.parametrize("seed", [1, 2])
    def test_any_order_of_arrival_ends_in_the_newest_512(self, features: Features, seed: int) -> None:
        """Shuffled, with repetitions, in requests of any size."""
        chance = random.Random(seed)
        events = [watched(f"e{n:03}", chance.randrange(300), f"m{n}") for n in range(600)]
        arriving = events + chance.sample(events, 100)
        chance.shuffle(arriving)
        while arriving:
            count = chance.randint(1, 300)
            features.client.append_interactions(arriving[:count])
            del arriving[:count]
        expected = sorted(events, key=lambda one: (one.stamp.event_time, one.stamp.event_id))[-FULL:]
        assert items_of(features) == [one.item_id for one in expected]


class TestWholeHistories:
    """Events beside histories that were put as a whole."""

    def test_a_newer_whole_history_replaces_what_came_as_events(self, features: Features) -> None:
        """And an older one than the newest interaction is stale."""
        features.client.append_interactions([watched("e1", 1, "a")])
        assert features.client.put_user_history("u1", stamp("w0", 0), ["x"], [4], [5]) == "STALE"
        assert features.client.put_user_history("u1", stamp("w2", 2), ["b", "c"], [4, 5], [5, 6]) == "APPLIED"
        assert items_of(features) == ["b", "c"]

    def test_events_go_between_its_entries_by_time(self, features: Features) -> None:
        """An entry without an event comes before the events of its second."""
        noon = int(NOON.timestamp())
        features.client.put_user_history("u1", stamp("w", 9), ["a", "c"], [4, 4], [noon, noon + 120])
        features.client.append_interactions([watched("e2", 2, "d"), watched("e1", 1, "b")])
        assert items_of(features) == ["a", "b", "c", "d"]

    def test_an_entry_gives_way_to_the_event_of_its_item_and_second(self, features: Features) -> None:
        """A log that was loaded and then comes as events is not counted twice."""
        noon = int(NOON.timestamp())
        features.client.put_user_history("u1", stamp("w", 9), ["a", "b"], [0, 4], [noon, noon])
        late = watched("e1", 0.01, "a", rating=5)
        assert features.client.append_interactions([late, late]) == ["APPLIED", "DUPLICATE"]
        assert (items_of(features), features.client.user("u1").user.ratings) == (["b", "a"], [4, 5])

    def test_entries_out_of_order_are_refused(self, features: Features) -> None:
        """Columns that do not belong together look like this, too; what was stored stays."""
        features.client.put_user_history("u1", stamp("w"), ["a", "b"], [1, 2], [10, 10])
        with pytest.raises(InvalidArgumentError) as refused:
            features.client.put_user_history("u1", stamp("x", 1), ["c", "a", "b"], [3, 1, 2], [30, 10, 20])
        assert [field for field, _ in refused.value.violations] == ["history.times"]
        assert items_of(features) == ["a", "b"]

    def test_events_are_known_over_a_restart(self, start: Start, tmp_path: Path) -> None:
        """Their ids are on disk."""
        before = start(tmp_path)
        before.client.append_interactions([watched("e1", 1, "a")])
        again = start(tmp_path)
        assert again.client.append_interactions([watched("e1", 1, "a"), watched("e0", 0, "b")]) == [
            "DUPLICATE",
            "APPLIED",
        ]
        assert items_of(again) == ["b", "a"]


class TestBadInput:
    """INVALID_ARGUMENT names the field."""

    @pytest.mark.parametrize(
        ("interaction", "field"),
        [
            (watched("", 1), "interactions[1].event.event_id"),
            (watched("e", user_id="u" * 129), "interactions[1].user_id"),
            (watched("e", item_id=""), "interactions[1].item_id"),
            (watched("e", rating=float("nan")), "interactions[1].rating"),
            (watched("e", rating=1e39), "interactions[1].rating"),
            (replace(watched("e"), scenario="wines"), "interactions[1].scenario"),
        ],
    )
    def test_a_bad_interaction_names_the_field_and_stores_nothing(
        self, features: Features, interaction: Interaction, field: str
    ) -> None:
        """The whole request is refused."""
        with pytest.raises(InvalidArgumentError) as refused:
            features.client.append_interactions([watched("good"), interaction])
        assert [violation[0] for violation in refused.value.violations] == [field]
        assert items_of(features) == []

    def test_none_or_too_many_are_refused(self, features: Features) -> None:
        """1 to 1,000 may be sent."""
        for count in (0, 1001):
            with pytest.raises(InvalidArgumentError, match="interactions: must have 1 to 1,000 entries"):
                features.client.append_interactions([watched("e")] * count)
