"""Who gets knowledge first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from loreline.domain import Interaction, Item, Stamp
from services.updater.events import Delete, Event, Logged, Requested, Upsert
from services.updater.popularity import Popularity
from services.updater.priorities import ItemPriorities, user_priorities

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3600.0


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def stamp(second: int) -> Stamp:
    """So many seconds after the first event."""
    return Stamp(str(second), START + timedelta(seconds=second))


def film(item_id: str, second: int) -> Upsert:
    """A film that came so many seconds after the first event."""
    return Upsert(stamp(second), Item(item_id, "movies", f"Film {item_id}"))


def best_first(priorities: ItemPriorities, *events: Event) -> list[str]:
    """The ids in the order in which they are wanted."""
    ranks = dict(zip([event.subject_id for event in events], priorities(events), strict=True))
    return sorted(ranks, key=lambda subject_id: ranks[subject_id], reverse=True)


def test_a_popular_item_comes_before_a_newer_one() -> None:
    """Of items that nobody acted on, the newest comes first."""
    popularity = Popularity(10, HOUR)
    popularity.count(["hit"] * 20)
    priorities = ItemPriorities(popularity)
    assert best_first(priorities, film("old", 1), film("hit", 0), film("new", 2)) == ["hit", "new", "old"]


def test_a_few_interactions_more_do_not_outweigh_newness() -> None:
    """Popularity counts in powers of two."""
    popularity = Popularity(10, HOUR)
    popularity.count(["a"] * 14 + ["b"] * 8)
    assert best_first(ItemPriorities(popularity), film("a", 1), film("b", 2)) == ["b", "a"]


def test_a_deletion_comes_first() -> None:
    """It asks no language model."""
    popularity = Popularity(10, HOUR)
    popularity.count(["hit"] * 1000)
    assert best_first(ItemPriorities(popularity), film("hit", 9), Delete(stamp(0), "gone", "movies"))[0] == "gone"


def test_popularity_fades() -> None:
    """It halves with every half-life."""
    clock = Clock()
    popularity = Popularity(10, HOUR, clock)
    popularity.count(["a"] * 8)
    clock.now = 2 * HOUR
    assert popularity.of("a") == 2
    popularity.count(["a"])
    assert popularity.of("a") == 3
    assert popularity.of("never seen") == 0


def test_the_counts_are_bounded() -> None:
    """The item that was acted on longest ago is forgotten."""
    popularity = Popularity(2, HOUR)
    for item_id in ("a", "b", "a", "c"):
        popularity.count([item_id])
    assert [popularity.of(item_id) > 0 for item_id in "abc"] == [True, False, True]


def test_a_user_who_was_asked_for_comes_before_newer_interactions() -> None:
    """Somebody waits for the one, nobody for the others."""
    asked = Requested(stamp(0), "asked", "movies")
    others = [Logged(Interaction(stamp(second), str(second), "film", "movies")) for second in (5, 7)]
    first, earlier, later = user_priorities([asked, *others])
    assert first > later > earlier
