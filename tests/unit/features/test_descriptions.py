"""What the service tells of users and of all subjects, through the client, over SQLite and Redis."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from feature_repo.store import apply_definitions, materialise, open_store, source_path
from loreline.client import InvalidArgumentError, NotFoundError
from loreline.domain import Item
from tests.unit.features.conftest import Features, Start
from tests.unit.features.feature_samples import NOON, film, stamp, vectors, watched


def with_films(features: Features, *item_ids: str) -> None:
    """Store films, each by the event c-ID at noon."""
    features.client.put_contents([(stamp(f"c-{item_id}"), film(item_id, f"Film {item_id}")) for item_id in item_ids])


class TestDescribeUser:
    """What preference knowledge is made of."""

    def test_interactions_come_with_the_items_as_they_are_stored_now(self, features: Features) -> None:
        """Oldest first, with ratings; items unknown or deleted are left out."""
        with_films(features, "a", "b", "gone")
        events = [watched("e1", 1, "b", rating=2), watched("e2", 2, "gone"), watched("e3", 3, "never")]
        features.client.append_interactions([*events, watched("e4", 4, "a", rating=None), watched("e5", 5, "b")])
        features.client.remove_items([(stamp("r", 9), "gone")])
        features.client.put_contents([(stamp("c2", 9), film("a", "Film A, second cut"))])
        entries = features.client.describe_user("u1").user.entries
        assert [(entry.item.title, entry.rating) for entry in entries] == [
            ("Film b", 2),
            ("Film A, second cut", None),
            ("Film b", 4),
        ]

    def test_only_the_newest_entries_are_returned_when_asked(self, features: Features) -> None:
        """Counted before items that are not stored are left out."""
        with_films(features, "a", "b", "c")
        features.client.append_interactions([watched(f"e{n}", n, item_id) for n, item_id in enumerate("abc")])
        entries = features.client.describe_user("u1", most_entries=2).user.entries
        assert [entry.item.item_id for entry in entries] == ["b", "c"]

    def test_a_history_of_large_items_is_cut_to_what_a_message_takes(self, features: Features) -> None:
        """The newest are returned: 40 items of half a megabyte each are within the limits, and 20 MB."""
        plots = {f"plot-{n}": "x" * 8000 for n in range(63)}
        for n in range(40):
            item = Item(f"large-{n}", "movies", "Film", plots)
            features.client.put_contents([(stamp(f"content-{n}"), item)])
        features.client.append_interactions([watched(f"e{n}", n, f"large-{n}") for n in range(40)])
        entries = features.client.describe_user("u1").user.entries
        assert [entry.item.item_id for entry in entries] == [f"large-{n}" for n in range(24, 40)]

    def test_interactions_after_the_answered_event_are_counted(self, features: Features) -> None:
        """All of them while there is no knowledge."""
        features.client.append_interactions([watched(f"e{n}", n) for n in range(5)])
        described = features.client.describe_user("u1")
        assert (described.history_event, described.interactions_since_knowledge) == (stamp("e4", 4), 5)
        assert (described.knowledge, described.knowledge_event, described.encoder) == (None, None, "")
        features.client.put_user_knowledge("u1", stamp("e2", 2), vectors(text="Likes slow films."))
        described = features.client.describe_user("u1")
        assert described.interactions_since_knowledge == 2
        assert described.knowledge is not None
        assert described.knowledge.text == "Likes slow films."
        assert described.knowledge_stored_time is not None
        assert described.knowledge_event == stamp("e2", 2)
        assert (described.encoder, described.model_versions) == ("minilm", ["1"])

    def test_attributes_come_from_the_bulk_loaded_profile(self, start: Start, tmp_path: Path) -> None:
        """A user without history is described by them alone."""
        (tmp_path / "offline").mkdir()
        now = pd.Timestamp(NOON)
        row = {"user_id": "u1", "attributes_json": '{"age": "25-34"}', "event_id": "bulk-u1"}
        frame = pd.DataFrame([{**row, "event_timestamp": now, "created_timestamp": now}])
        frame.to_parquet(source_path(tmp_path, "user_profile"), index=False)
        features = start(tmp_path)
        store = open_store(tmp_path, features.online_store)
        apply_definitions(store, tmp_path)
        materialise(store, tmp_path, ["user_profile"])
        described = features.client.describe_user("u1")
        assert (described.user.attributes, described.user.entries) == ({"age": "25-34"}, [])
        assert described.history_event is None

    def test_a_user_of_whom_nothing_is_stored_is_not_found(self, features: Features) -> None:
        """The name is in the message."""
        with pytest.raises(NotFoundError, match="nobody"):
            features.client.describe_user("nobody")

    def test_more_entries_than_a_history_has_room_for_are_refused(self, features: Features) -> None:
        """1 to 512, or 0 for all."""
        with pytest.raises(InvalidArgumentError, match="most_entries: must be 1 to 512, or 0 for all, got 513"):
            features.client.describe_user("u1", most_entries=513)


class TestListSubjects:
    """All items or users, page by page."""

    def test_items_come_in_the_order_of_their_ids_with_their_knowledge(self, features: Features) -> None:
        """More than one page, without those deleted."""
        ids = [f"m{n:04}" for n in range(700)]
        features.client.put_contents([(stamp(f"c-{i}"), film(i)) for i in reversed(ids)])
        features.client.remove_items([(stamp("r", 1), "m0001")])
        features.client.put_knowledge([(stamp("c-m0600"), "m0600", vectors(text="Slow."))])
        listed = list(features.client.subjects("item"))
        assert [one.subject_id for one in listed] == [i for i in ids if i != "m0001"]
        known = next(one for one in listed if one.knowledge)
        assert (known.subject_id, known.item, known.event) == ("m0600", film("m0600"), stamp("c-m0600"))
        assert known.knowledge is not None
        assert known.knowledge.text == "Slow."
        assert (known.knowledge_event, known.encoder, known.model_versions) == (stamp("c-m0600"), "minilm", ["1"])

    def test_a_listing_goes_on_after_an_id(self, features: Features) -> None:
        """The id itself need not be stored any more."""
        with_films(features, "a", "b", "c")
        assert [one.subject_id for one in features.client.subjects("item", after_id="b")] == ["c"]
        assert [one.subject_id for one in features.client.subjects("item", after_id="aa")] == ["b", "c"]

    def test_items_of_another_scenario_are_left_out(self, features: Features) -> None:
        """The item's own scenario counts."""
        with_films(features, "a")
        assert list(features.client.subjects("item", scenario="books")) == []
        assert [one.subject_id for one in features.client.subjects("item", scenario="movies")] == ["a"]

    def test_users_are_listed_with_history_and_knowledge_events(self, features: Features) -> None:
        """A scenario selects by the knowledge, so it leaves out those without."""
        features.client.append_interactions([watched("e1", 1, user_id="u1"), watched("e2", 2, user_id="u2")])
        features.client.put_user_knowledge("u2", stamp("e2", 2), vectors())
        features.client.put_user_knowledge("u3", stamp("k3", 3), vectors())
        listed = list(features.client.subjects("user"))
        assert [(one.subject_id, one.event) for one in listed] == [
            ("u1", stamp("e1", 1)),
            ("u2", stamp("e2", 2)),
            ("u3", None),
        ]
        assert [one.knowledge_event for one in listed] == [None, stamp("e2", 2), stamp("k3", 3)]
        assert all(one.item is None for one in listed)
        assert [one.subject_id for one in features.client.subjects("user", scenario="movies")] == ["u2", "u3"]
        assert list(features.client.subjects("user", scenario="books")) == []

    def test_an_unknown_scenario_is_refused(self, features: Features) -> None:
        """A mistyped one would list nothing, silently."""
        with pytest.raises(InvalidArgumentError, match="scenario"):
            list(features.client.subjects("item", scenario="wines"))


def test_descriptions_hold_the_knowledge_vector(features: Features) -> None:
    """The item's and the user's own; empty while there is none."""
    with_films(features, "a", "b")
    features.client.put_knowledge([(stamp("c-a"), "a", vectors(0.25))])
    features.client.append_interactions([watched("e1", 1, user_id="u1"), watched("e2", 1, user_id="u2")])
    features.client.put_user_knowledge("u1", stamp("e1", 1), vectors(0.75))
    assert features.client.describe_item("a").vector.tolist() == [0.25] * 8
    assert features.client.describe_user("u1").vector.tolist() == [0.75] * 8
    assert features.client.describe_item("b").vector.size == features.client.describe_user("u2").vector.size == 0
