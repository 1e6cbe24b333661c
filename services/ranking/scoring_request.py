"""One user and some candidates as one model version sees them: what a scorer is asked with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loreline.domain import Item, PackedUser
from services.model_registry import DOMAIN, PADDING, Manifest
from services.ranking.clock import Clock
from services.ranking.item_content import content_fields
from services.ranking.item_rows import ItemRows
from services.ranking.scorers import ScorerInputs
from services.ranking.serving_model import ServingModel
from services.runtime.errors import PlatformError


@dataclass(frozen=True)
class History:
    """The interactions that count for a request, oldest first, in columns of one length; ratings 0 = none given."""

    item_ids: list[str]
    ratings: list[float]

    def at(self, places: npt.NDArray[np.intp]) -> History:
        """Some of the interactions."""
        chosen = places.tolist()
        return History([self.item_ids[place] for place in chosen], [self.ratings[place] for place in chosen])


@dataclass(frozen=True)
class Candidates:
    """N candidates that can be scored: `item_ids`, `fields` (N, F) int64 indices, `augmented` (N, A) float32.

    `augmented` is zeros where `has_knowledge` (N,) is False.
    """

    item_ids: list[str]
    fields: npt.NDArray[np.int64]
    augmented: npt.NDArray[np.float32]
    has_knowledge: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoringRequest:
    """A user's history with its items' `past_fields` (n, F) and augmented vector (A,), and the candidates."""

    model: ServingModel
    candidates: Candidates
    history: History
    past_fields: npt.NDArray[np.int64]
    user_augmented: npt.NDArray[np.float32]
    scenario: str

    @property
    def item_ids(self) -> list[str]:
        """Ids of the candidates."""
        return self.candidates.item_ids

    @property
    def has_knowledge(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the candidates have knowledge."""
        return self.candidates.has_knowledge

    @property
    def cold_start(self) -> bool:
        """Whether the user has no history."""
        return not self.history.item_ids

    def only(self, positions: npt.NDArray[np.intp]) -> ScoringRequest:
        """The same for some of the candidates, in the order of `positions`."""
        found = self.candidates
        ids = [found.item_ids[position] for position in positions.tolist()]
        chosen = (found.fields[positions], found.augmented[positions], found.has_knowledge[positions])
        return replace(self, candidates=Candidates(ids, *chosen))

    def scored(
        self, clock: Clock, *, item_knowledge: bool = True, user_knowledge: bool = True
    ) -> tuple[npt.NDArray[np.float32], str]:
        """See Asked."""
        if not self.candidates.item_ids:
            return np.empty(0, dtype=np.float32), ""
        scored = self.model.scorer.score(self.inputs(item_knowledge, user_knowledge), clock.seconds_left())
        return checked_scores(scored.values, self.model.manifest)[0], scored.place

    def inputs(self, item_knowledge: bool = True, user_knowledge: bool = True) -> ScorerInputs:
        """The version's inputs, services.model_registry.scorer_inputs_of, B = 1; knowledge not asked for is zeros."""
        index, length = self.model.vocabulary.item_index, self.model.manifest.history_length
        item_id = np.array([index(item_id) for item_id in self.candidates.item_ids], dtype=np.int64)
        past_id = np.array([index(item_id) for item_id in self.history.item_ids], dtype=np.int64)
        ratings = np.array(self.history.ratings, dtype=np.float32)
        own = {DOMAIN: np.array([self.model.manifest.domain(self.scenario)], dtype=np.int64)}
        return {
            **(own if self.model.manifest.kind == "unictr-student" else {}),
            "item_id": item_id[None],
            "item_fields": self.candidates.fields[None],
            "item_augmented": _if(item_knowledge, self.candidates.augmented)[None],
            "history_item_id": _padded(past_id, length)[None],
            "history_fields": _padded(self.past_fields, length)[None],
            "history_rating": _padded(ratings, length)[None],
            "user_augmented": _if(user_knowledge, self.user_augmented)[None],
        }


def checked_scores(scores: npt.NDArray[np.float32], manifest: Manifest) -> npt.NDArray[np.float32]:
    """The scores. Raises PlatformError when one is not a finite number."""
    if not np.isfinite(scores).all():
        raise PlatformError(f"model version {manifest.version} gave scores that are not finite numbers")
    return scores


def history_of(user: PackedUser, request_time: int | None, length: int) -> History:
    """The last `length` interactions that are not after the request's time; None means now."""
    latest = time.time() if request_time is None else request_time
    positions = [position for position, moment in enumerate(user.times) if moment <= latest][-length:]
    return History([user.item_ids[p] for p in positions], [user.ratings[p] for p in positions])


def candidates_of(
    item_ids: Sequence[str], rows: ItemRows, scenario: str, inline: Mapping[str, Item], model: ServingModel
) -> Candidates:
    """Those of `item_ids` that are stored for the scenario, and those not stored whose content is given inline."""
    content = {p: inline[i] for p, i in enumerate(item_ids) if i in inline and rows.absent[p]} if inline else {}
    usable = rows.scenario == rows.interner.find(scenario)
    usable[list(content)] = True
    positions = np.flatnonzero(usable)
    known = rows.at(positions)
    fields = model.fields.indices(known)
    for position, item in content.items():
        fields[np.searchsorted(positions, position)] = inline_fields(item, model)
    return Candidates([item_ids[p] for p in positions.tolist()], fields, known.augmented, known.has_knowledge)


def inline_fields(item: Item, model: ServingModel) -> npt.NDArray[np.int64]:
    """(F,) indices of an item's content, which no cache learns of: anybody may send any text.

    A version of one scenario finds its fields by name. For a student of several the n-th field is that of each.
    """
    values, names = content_fields(item), model.manifest.item_fields
    if model.manifest.kind == "kar":
        return model.vocabulary.field_indices([values.get(name, "") for name in names])
    placed = [*values.values(), *[""] * len(names)][: len(names)]
    return model.vocabulary.field_indices(placed)


def user_vector(user: PackedUser, model: ServingModel) -> npt.NDArray[np.float32]:
    """(A,) the user's augmented vector of the model's version; zeros without one of its width."""
    width = model.manifest.augmented_dimension
    vector = user.augmented.get(model.manifest.version)
    return np.zeros(width, dtype=np.float32) if vector is None or len(vector) != width else vector


def _if(wanted: bool, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return values if wanted else np.zeros_like(values)


def _padded(values: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
    """(n, ...) filled with PADDING at the end to (length, ...)."""
    padded = np.full((length, *values.shape[1:]), PADDING, dtype=values.dtype)
    padded[: len(values)] = values
    return padded
