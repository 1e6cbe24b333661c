"""Summarises a user's history by the scenario's fields: pure counting, nothing is guessed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loreline.domain import Cluster, Item, UserHistory
from services.scenarios import Scenario
from services.scenarios.scenario import TRANSFORMS, ItemField

MINIMUM_SUPPORT = 2  # one rating says little about a whole genre
SHOWN_TITLES = 5


@dataclass(frozen=True)
class Taste:
    """How one value of a field was received. `mean_rating` in the scenario's unit; None when no rating was given."""

    value: str
    count: int
    mean_rating: float | None


@dataclass(frozen=True)
class Tastes:
    """A history in numbers. The mappings go from a field's name to tastes, strongest first.

    A value is liked when its mean is above the scenario's `positive_above`, or, without ratings, when it is frequent.
    """

    liked: dict[str, list[Taste]]
    disliked: dict[str, list[Taste]]
    mean_rating: float | None
    rated_count: int
    best_titles: list[str]
    worst_titles: list[str]

    @property
    def likes(self) -> dict[str, list[str]]:
        """Liked values by field, strongest first."""
        return {name: [taste.value for taste in tastes] for name, tastes in self.liked.items()}

    @property
    def dislikes(self) -> dict[str, list[str]]:
        """Disliked values by field, strongest first."""
        return {name: [taste.value for taste in tastes] for name, tastes in self.disliked.items()}


def summarise(user: UserHistory | Cluster, scenario: Scenario) -> Tastes:
    """The tastes that a history of at least one entry shows. Deterministic: ties keep the order of values."""
    ratings = [entry.rating for entry in user.entries if entry.rating is not None]
    by_field = {field.name: _tastes_of(user, field) for field in scenario.item_fields}
    above = scenario.positive_above
    return Tastes(
        liked={name: _liked(tastes, above) for name, tastes in by_field.items()},
        disliked={name: _disliked(tastes, above) for name, tastes in by_field.items()},
        mean_rating=_mean(ratings),
        rated_count=len(ratings),
        best_titles=_titles(user, lambda rating: rating > above, best_first=True),
        worst_titles=_titles(user, lambda rating: rating < above, best_first=False),
    )


def field_values(item: Item, field: ItemField) -> Iterator[str]:
    """All values that an item has for a field: a list's every text, not only the first that the model packs."""
    value = item.attributes.get(field.attribute)
    for entry in value if isinstance(value, list) else [value]:
        if text := TRANSFORMS[field.transform](entry):
            yield text


def _tastes_of(user: UserHistory | Cluster, field: ItemField) -> list[Taste]:
    ratings: defaultdict[str, list[float | None]] = defaultdict(list)
    for entry in user.entries:
        for value in field_values(entry.item, field):
            ratings[value].append(entry.rating)
    return [
        Taste(value, len(given), _mean([rating for rating in given if rating is not None]))
        for value, given in sorted(ratings.items())
    ]


def _liked(tastes: list[Taste], above: float) -> list[Taste]:
    enough = _supported(tastes)
    liked = [taste for taste in enough if taste.mean_rating is None or taste.mean_rating > above]
    return sorted(
        liked, key=lambda taste: -taste.count * (1 if taste.mean_rating is None else taste.mean_rating - above)
    )


def _disliked(tastes: list[Taste], above: float) -> list[Taste]:
    disliked = [t for t in _supported(tastes) if t.mean_rating is not None and t.mean_rating <= above]
    return sorted(disliked, key=lambda taste: (taste.mean_rating, -taste.count))


def _supported(tastes: list[Taste]) -> list[Taste]:
    """Values seen often enough; all of them where the history is too short for any."""
    return [taste for taste in tastes if taste.count >= MINIMUM_SUPPORT] or tastes


def _titles(user: UserHistory | Cluster, wanted: Callable[[float], bool], best_first: bool) -> list[str]:
    rated = [(entry.rating, entry.item.title) for entry in user.entries if entry.rating is not None]
    chosen = sorted((pair for pair in rated if wanted(pair[0])), key=lambda pair: -pair[0] if best_first else pair[0])
    return [title for _, title in chosen[:SHOWN_TITLES]]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
