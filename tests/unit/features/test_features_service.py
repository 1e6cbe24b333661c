"""The features service, through its client, over SQLite and Redis."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import redis

from feature_repo.store import open_store
from loreline.client import InvalidArgumentError, NotFoundError, WatchBatch
from loreline.domain import Item, KnowledgeVectors
from services.features.online_store import OnlineStore
from tests.unit.features.conftest import Features, Start
from tests.unit.features.feature_samples import augment, film, stamp, vectors


class TestItems:
    """Writes and reads of items."""

    def test_content_makes_an_item_readable_with_its_packed_fields(self, features: Features) -> None:
        """The fields of the scenario come packed in their order, and nothing is augmented yet."""
        assert features.client.put_contents([(stamp("e1"), film())]) == ["APPLIED"]
        batch = features.client.items(["m1", "nobody"])
        assert batch.missing_item_ids == ["nobody"]
        assert batch.items[0].field_values == ["Drama", "1990"]
        assert batch.items[0].title == film().title
        assert batch.items[0].augmented == {}

    def test_items_come_in_the_order_asked(self, features: Features) -> None:
        """The online store's own order does not show."""
        ids = [f"m{n}" for n in range(20)]
        features.client.put_contents([(stamp(f"e{i}"), film(i)) for i in ids])
        assert [item.item_id for item in features.client.items(ids[::-1]).items] == ids[::-1]

    def test_the_same_event_twice_changes_nothing(self, features: Features) -> None:
        """The second time is a duplicate."""
        write = (stamp("e1"), film())
        assert features.client.put_contents([write, write]) == ["APPLIED", "DUPLICATE"]

    def test_an_older_event_never_overwrites_a_newer_one(self, features: Features) -> None:
        """It is reported as stale, and the newer title stays."""
        features.client.put_contents([(stamp("new", 5), film(title="Second cut"))])
        assert features.client.put_contents([(stamp("old", 1), film(title="First cut"))]) == ["STALE"]
        assert features.client.describe_item("m1").item.title == "Second cut"

    def test_equal_event_times_end_the_same_in_either_order(self, features: Features) -> None:
        """The larger event id wins."""
        first, second = (stamp("a"), film(title="A")), (stamp("b"), film(title="B"))
        assert features.client.put_contents([second, first]) == ["APPLIED", "STALE"]
        assert features.client.describe_item("m1").item.title == "B"

    def test_knowledge_of_stored_content_is_kept_with_its_vectors(self, features: Features) -> None:
        """Text, provenance and both vectors can be read back."""
        features.client.put_contents([(stamp("e1"), film())])
        assert features.client.put_knowledge([(stamp("e1"), "m1", vectors(0.25))]) == ["APPLIED"]
        described = features.client.describe_item("m1")
        assert described.knowledge is not None
        assert described.knowledge.text == "A film for patient viewers."
        assert (described.encoder, described.model_versions) == ("minilm", ["1"])
        np.testing.assert_array_equal(features.client.items(["m1"]).items[0].augmented["1"], np.full(4, 0.25))

    def test_knowledge_before_its_content_is_refused_as_missing_content(self, features: Features) -> None:
        """Nothing is stored then."""
        assert features.client.put_knowledge([(stamp("e1"), "m1", vectors())]) == ["MISSING_CONTENT"]
        assert features.client.items(["m1"]).missing_item_ids == ["m1"]

    def test_changed_content_takes_its_old_knowledge_away(self, features: Features) -> None:
        """Knowledge of the old title would describe another item."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        features.client.put_contents([(stamp("e2", 1), film(title="Another film"))])
        assert features.client.describe_item("m1").knowledge is None
        assert features.client.items(["m1"]).items[0].augmented == {}

    def test_content_sent_again_unchanged_keeps_its_knowledge(self, features: Features) -> None:
        """A supplier's nightly full feed costs no language model call."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        features.client.put_contents([(stamp("e2", 1), film())])
        assert features.client.describe_item("m1").knowledge is not None

    def test_unchanged_content_takes_answers_to_the_event_before(self, features: Features) -> None:
        """The text is about the same words; so a rebuild and a repeated write reach it."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        features.client.put_contents([(stamp("e2", 1), film())])
        later = vectors(text="Written anew.", written=9)
        writes = [(stamp("e1"), "m1", vectors()), (stamp("e1"), "m1", later), (stamp("e2", 1), "m1", later)]
        assert features.client.put_knowledge(writes) == ["DUPLICATE", "APPLIED", "APPLIED"]

    def test_a_removed_item_is_missing_and_an_older_upsert_cannot_bring_it_back(self, features: Features) -> None:
        """The tombstone keeps the time of the removal."""
        features.client.put_contents([(stamp("e1"), film())])
        assert features.client.remove_items([(stamp("gone", 5), "m1")]) == ["APPLIED"]
        assert features.client.put_contents([(stamp("late", 3), film())]) == ["STALE"]
        assert features.client.items(["m1"]).missing_item_ids == ["m1"]
        with pytest.raises(NotFoundError):
            features.client.describe_item("m1")

    def test_a_new_upsert_after_a_removal_brings_the_item_back(self, features: Features) -> None:
        """A supplier may sell again what was gone."""
        features.client.remove_items([(stamp("gone"), "m1")])
        assert features.client.put_contents([(stamp("back", 1), film())]) == ["APPLIED"]
        assert features.client.items(["m1"]).missing_item_ids == []


class TestUsers:
    """Writes and reads of users."""

    def test_an_unknown_user_is_no_error(self, features: Features) -> None:
        """The statuses say that nothing was found."""
        read = features.client.user("nobody")
        assert (read.history_status, read.knowledge_status) == ("NOT_FOUND", "NOT_FOUND")
        assert read.user.item_ids == []

    def test_history_and_knowledge_come_back_together(self, features: Features) -> None:
        """Each is written by an event of its own."""
        assert features.client.put_user_history("u1", stamp("h1"), ["m1", "m2"], [4, 5], [100, 200]) == "APPLIED"
        assert features.client.user("u1").knowledge_status == "NULL"
        assert features.client.put_user_knowledge("u1", stamp("k1"), vectors(0.75)) == "APPLIED"
        read = features.client.user("u1")
        assert (read.user.item_ids, read.user.ratings, read.user.times) == (["m1", "m2"], [4, 5], [100, 200])
        np.testing.assert_array_equal(read.user.augmented["1"], np.full(4, 0.75))
        assert (read.history_status, read.knowledge_status) == ("PRESENT", "PRESENT")

    def test_an_older_history_never_overwrites_a_newer_one(self, features: Features) -> None:
        """It is reported as stale."""
        features.client.put_user_history("u1", stamp("new", 5), ["m2"], [4], [200])
        assert features.client.put_user_history("u1", stamp("old", 1), ["m1"], [4], [100]) == "STALE"
        assert features.client.user("u1").user.item_ids == ["m2"]


class TestPromotion:
    """What a promotion reads and writes."""

    def test_vectors_are_listed_until_the_version_has_its_own(self, features: Features) -> None:
        """A second pass finds nothing left to adapt."""
        features.client.put_contents([(stamp("e1"), film()), (stamp("e2"), film("m2"))])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors()), (stamp("e2"), "m2", vectors())])
        pages = list(features.client.knowledge_vectors("item", lacking_version="2"))
        assert [page.subject_ids for page in pages] == [["m1", "m2"]]
        assert pages[0].vectors.shape == (2, 8)
        assert augment(features.client, "item", "2", "m1", "m2") == 2
        assert list(features.client.knowledge_vectors("item", lacking_version="2")) == []
        assert list(features.client.items(["m1"]).items[0].augmented) == ["1", "2"]

    def test_the_oldest_of_three_versions_is_dropped(self, features: Features) -> None:
        """Two are kept: the active one and its neighbour."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        for version in ("2", "3"):
            augment(features.client, "item", version, "m1")
        assert list(features.client.items(["m1"]).items[0].augmented) == ["2", "3"]

    @pytest.mark.parametrize("subject", ["item", "user"])
    def test_the_served_version_stays_after_a_rollback(
        self, features: Features, subject: Literal["item", "user"]
    ) -> None:
        """It is the oldest then, and yet what every request reads until the next promotion is through."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        features.client.put_user_knowledge("m1", stamp("k1"), vectors())
        for version in ("2", "3"):
            augment(features.client, subject, version, "m1", serving="1")
        client = features.client
        stored = client.items(["m1"]).items[0] if subject == "item" else client.user("m1").user
        assert set(stored.augmented) == {"1", "3"}

    @pytest.mark.parametrize("subject", ["item", "user"])
    def test_versions_of_other_kinds_stay_and_do_not_count(
        self, features: Features, subject: Literal["item", "user"]
    ) -> None:
        """A student that ranks other scenarios keeps its vectors through the promotions of kar versions."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
        features.client.put_user_knowledge("m1", stamp("k1"), vectors())
        augment(features.client, subject, "2", "m1", kept=["1"])
        for version, serving in (("3", "1"), ("4", "3"), ("5", "4")):
            augment(features.client, subject, version, "m1", serving=serving, kept=["2"])
        client = features.client
        stored = client.items(["m1"]).items[0] if subject == "item" else client.user("m1").user
        assert list(stored.augmented) == ["2", "4", "5"]

    def test_subjects_that_are_gone_or_without_knowledge_are_passed_over(self, features: Features) -> None:
        """A promotion races with removals and must not bring anything back."""
        features.client.put_contents([(stamp("e1"), film())])
        assert augment(features.client, "item", "2", "m1", "gone") == 0

    def test_users_vectors_are_adapted_the_same_way(self, features: Features) -> None:
        """Listed, stored, and no longer lacking."""
        features.client.put_user_knowledge("u1", stamp("k1"), vectors(version=""))
        assert [p.subject_ids for p in features.client.knowledge_vectors("user", "1")] == [["u1"]]
        augment(features.client, "user", "1", "u1")
        assert list(features.client.user("u1").user.augmented) == ["1"]

    @pytest.mark.parametrize("subject", ["item", "user"])
    def test_vectors_of_knowledge_that_was_replaced_meanwhile_are_not_stored(
        self, features: Features, subject: Literal["item", "user"]
    ) -> None:
        """They belong to another text, or to another encoder's vector of the same one."""
        client = features.client
        client.put_contents([(stamp("e1"), film("s"))])

        def put(answer: KnowledgeVectors) -> None:
            if subject == "item":
                client.put_knowledge([(stamp("e1"), "s", answer)])
            else:
                client.put_user_knowledge("s", stamp("e1"), answer)

        put(vectors(version="", written=1))
        for newer in (vectors(0.2, version="", text="Second.", written=2), vectors(0.2, "", "Second.", "other", 2)):
            (page,) = client.knowledge_vectors(subject)
            put(newer)
            ones = np.ones((1, 4), dtype=np.float32)
            assert client.put_augmented(subject, "2", page.subject_ids, page.etags, ones) == 0
        assert augment(client, subject, "2", "s") == 1


class TestWidths:
    """All vectors of an encoder have one width."""

    def test_a_vector_of_another_width_is_refused_with_the_whole_request(self, features: Features) -> None:
        """The first of an encoder says which it is; another encoder has its own."""
        narrow = replace(vectors(version=""), vector=np.ones(5, dtype=np.float32))
        features.client.put_contents([(stamp("e1"), film()), (stamp("e2"), film("m2"))])
        features.client.put_user_knowledge("u1", stamp("k1"), vectors(version=""))
        with pytest.raises(InvalidArgumentError, match="must have 8 numbers") as refused:
            features.client.put_knowledge([(stamp("e1"), "m1", vectors()), (stamp("e2"), "m2", narrow)])
        assert [field for field, _ in refused.value.violations] == ["writes[1].knowledge.vector"]
        assert features.client.describe_item("m1").knowledge is None
        with pytest.raises(InvalidArgumentError) as refused:
            features.client.put_user_knowledge("u2", stamp("k2"), narrow)
        assert [field for field, _ in refused.value.violations] == ["knowledge.vector"]
        of_another = replace(narrow, encoder="another")
        assert features.client.put_knowledge([(stamp("e2"), "m2", of_another)]) == ["APPLIED"]

    def test_it_is_known_after_a_restart(self, start: Start, tmp_path: Path) -> None:
        """It stands in the ledger."""
        start(tmp_path).client.put_user_knowledge("u1", stamp("k1"), vectors(version=""))
        with pytest.raises(InvalidArgumentError, match="must have 8 numbers"):
            start(tmp_path).client.put_user_knowledge(
                "u2", stamp("k2"), replace(vectors(version=""), vector=np.ones(5, dtype=np.float32))
            )

    def test_a_stored_vector_of_another_width_is_passed_over(self, start: Start, tmp_path: Path) -> None:
        """One bad row, from before there was a check, must not fail every promotion."""
        features = start(tmp_path)
        for user in ("u1", "u2", "u3"):
            features.client.put_user_knowledge(user, stamp("k1"), vectors(version=""))
        store = OnlineStore(open_store(tmp_path, features.online_store))
        narrow = np.ones(5, dtype=np.float32).tobytes()
        store.write("user_knowledge", [{"user_id": "u2", "encoder": vectors().encoder, "vector": narrow}])
        assert [page.subject_ids for page in features.client.knowledge_vectors("user")] == [["u1", "u3"]]


def changes(stream: Iterator[WatchBatch]) -> WatchBatch:
    """The next batch that is no mere sign of life."""
    return next(batch for batch in stream if batch.items)


class TestWatch:
    """The stream of changes."""

    def test_a_watcher_sees_what_is_stored_and_then_what_changes(self, features: Features) -> None:
        """It is told when it has caught up."""
        features.client.put_contents([(stamp("e1"), film())])
        stream = features.client.watch()
        first = next(stream)
        assert ([item.item_id for item in first.items], first.caught_up, first.restarted) == (["m1"], True, True)
        features.client.put_contents([(stamp("e2"), film("m2"))])
        second = changes(stream)
        assert ([item.item_id for item in second.items], second.restarted) == (["m2"], False)
        stream.close()

    def test_a_watcher_of_an_empty_store_is_told_that_it_caught_up(self, features: Features) -> None:
        """Otherwise a cache over a new catalogue would never be ready."""
        stream = features.client.watch()
        first = next(stream)
        assert (first.items, first.sequence, first.caught_up) == ([], 0, True)
        stream.close()

    def test_a_watcher_hears_that_the_stream_lives_while_nothing_changes(self, features: Features) -> None:
        """At the place where it is: the numbers of users are not its."""
        features.client.put_contents([(stamp("e1"), film())])
        stream = features.client.watch()
        first = next(stream)
        features.client.put_user_history("u1", stamp("e2"), ["m1"], [5.0], [1])
        for batch in itertools.islice(stream, 3):
            assert (batch.items, batch.caught_up, batch.sequence, batch.epoch) == (
                [],
                True,
                first.sequence,
                first.epoch,
            )
        stream.close()

    def test_a_watcher_goes_on_where_it_was_cut_off_even_over_a_restart(self, start: Start, tmp_path: Path) -> None:
        """The sequence and its epoch are kept on disk."""
        before = start(tmp_path)
        before.client.put_contents([(stamp("e1"), film())])
        seen = next(before.client.watch())
        before.client.put_contents([(stamp("e2"), film("m2"))])
        stream = start(tmp_path).client.watch(seen.sequence, seen.epoch)
        first = next(stream)
        assert ([item.item_id for item in first.items], first.restarted) == (["m2"], False)
        stream.close()

    def test_a_watcher_of_a_store_that_was_set_up_anew_is_told_everything(self, start: Start, tmp_path: Path) -> None:
        """Its sequence number means nothing here, though there is one like it."""
        before = start(tmp_path / "before")
        before.client.put_contents([(stamp("e1"), film())])
        seen = next(before.client.watch())
        if before.online_store == "redis":
            redis.Redis.from_url(f"redis://{os.environ['LORELINE_REDIS_CONNECTION']}").flushall()
        after = start(tmp_path / "after")
        after.client.put_contents([(stamp("e2"), film("m2"))])
        stream = after.client.watch(seen.sequence, seen.epoch)
        first = next(stream)
        assert ([item.item_id for item in first.items], first.restarted) == (["m2"], True)
        assert first.epoch != seen.epoch
        stream.close()

    def test_a_sequence_number_without_its_epoch_is_refused(self, features: Features) -> None:
        """It could be of another store."""
        with pytest.raises(InvalidArgumentError) as refused:
            next(features.client.watch(after_sequence=1))
        assert [field for field, _ in refused.value.violations] == ["epoch"]

    def test_a_sequence_number_beyond_the_newest_is_refused(self, features: Features) -> None:
        """The store was set back: to say that the reader has caught up would leave it with what is no more."""
        features.client.put_contents([(stamp("e1"), film())])
        seen = next(features.client.watch())
        with pytest.raises(InvalidArgumentError) as refused:
            next(features.client.watch(seen.sequence + 1, seen.epoch))
        assert [field for field, _ in refused.value.violations] == ["after_sequence"]

    def test_removals_are_part_of_the_stream(self, features: Features) -> None:
        """A cache has to drop what is gone."""
        features.client.put_contents([(stamp("e1"), film())])
        features.client.remove_items([(stamp("e2", 1), "m1")])
        stream = features.client.watch()
        assert [(item.item_id, item.deleted) for item in next(stream).items] == [("m1", True)]
        stream.close()


class TestBadInput:
    """INVALID_ARGUMENT names the field."""

    @pytest.mark.parametrize(
        ("item", "field"),
        [
            (film(item_id=""), "writes[0].content.item_id"),
            (film(item_id="x" * 129), "writes[0].content.item_id"),
            (film(title=" "), "writes[0].content.title"),
            (film(title="x" * 513), "writes[0].content.title"),
            (film(year=float("nan")), "writes[0].content.attributes['year']"),
            (Item("m1", "wines", "A wine"), "writes[0].content.scenario"),
        ],
    )
    def test_bad_content_names_the_field_and_stores_nothing(self, features: Features, item: Item, field: str) -> None:
        """The whole request is refused."""
        with pytest.raises(InvalidArgumentError) as refused:
            features.client.put_contents([(stamp("e1"), item), (stamp("e2"), film("m2"))])
        assert field in [violation[0] for violation in refused.value.violations]
        assert features.client.items(["m2"]).missing_item_ids == ["m2"]

    def test_no_ids_or_too_many_are_refused(self, features: Features) -> None:
        """1 to 10,000 may be asked."""
        for ids in ([], ["m"] * 10_001):
            with pytest.raises(InvalidArgumentError, match="item_ids: must have 1 to 10,000 entries"):
                features.client.items(ids)

    def test_history_columns_of_different_lengths_are_refused(self, features: Features) -> None:
        """They describe the same interactions."""
        with pytest.raises(InvalidArgumentError, match="one length"):
            features.client.put_user_history("u1", stamp("h1"), ["m1", "m2"], [4], [100, 200])

    def test_a_vector_that_is_not_finite_is_refused(self, features: Features) -> None:
        """A NaN would spoil every score."""
        features.client.put_contents([(stamp("e1"), film())])
        with pytest.raises(InvalidArgumentError, match=r"writes\[0\].knowledge.vector"):
            features.client.put_knowledge([(stamp("e1"), "m1", vectors(float("nan")))])

    def test_duplicate_subjects_of_augmented_vectors_are_refused(self, features: Features) -> None:
        """One of the two would be lost silently."""
        with pytest.raises(InvalidArgumentError, match="subject_ids: must be unique"):
            augment(features.client, "item", "1", "m1", "m1")
