"""Ranks candidates for a user: one user read, one look into the item cache, one scoring."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loreline.client import FeaturesClient, PackedUser
from loreline.client.errors import ServiceUnavailableError
from services.model_registry import PADDING
from services.ranking.active_model import ActiveModel, ServingModel
from services.ranking.item_cache import ABSENT, ItemCache, ItemRows
from services.ranking.scorers import ScorerInputs
from services.runtime.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidRequest,
    PlatformError,
)
from services.scenarios import scenario_names
from services.scenarios.items import MAX_ID_BYTES, Violation, check_id

MAX_CANDIDATES = 10_000
UTF8_BYTES = 4  # most bytes of one character


@dataclass(frozen=True)
class RankQuery:
    """Who looks, and what could be shown; limits as in loreline.ranking.v1.

    `request_time`: seconds since 1970-01-01 UTC, None means now. `top_k` 0 returns all. `timeout_seconds`: what is
    left of the caller's time, None without a limit.
    """

    user_id: str
    scenario: str
    candidate_item_ids: Sequence[str]
    request_time: int | None = None
    use_knowledge: bool = True
    top_k: int = 0
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class RankedList:
    """The known candidates, best first: `scores` (N,) float32, `knowledge_used` (N,) bool; `timings_ms` by stage."""

    item_ids: list[str]
    scores: npt.NDArray[np.float32]
    knowledge_used: npt.NDArray[np.bool_]
    unknown_item_ids: list[str]
    model_version: str
    cold_start: bool
    timings_ms: dict[str, float]
    attribution_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class _History:
    item_ids: list[str]
    ratings: list[float]


class Ranker:
    """Ranks with the active model version. Safe to share between threads."""

    def __init__(self, features: FeaturesClient, cache: ItemCache, active: ActiveModel) -> None:
        self._features, self._cache, self._active = features, cache, active

    def rank(self, query: RankQuery) -> RankedList:
        """Rank the candidates; unknown candidates and users are no errors.

        Raises InvalidRequest, FailedPrecondition (no version is loaded, or it is of another scenario),
        DependencyUnavailable, DeadlineExceeded.
        """
        clock = _Clock(query.timeout_seconds)
        _check(query)
        model = self._active.current()  # once: a promotion in between must not reach into this request
        _check_scenario(model, query.scenario)
        with clock.stage("user_read"):
            user = self._read_user(query.user_id)
            history = _history(user, query.request_time, model.manifest.history_length)
        with clock.stage("item_read"):
            candidates, past = self._read_items(model, query, history)
        known = np.flatnonzero(candidates.scenario == self._cache.interner.find(query.scenario))
        with clock.stage("score"):
            inputs = self._inputs(model, query, user, history, past, candidates.at(known), known)
            scores = _score(model, inputs, clock.seconds_left()) if len(known) else np.empty(0, dtype=np.float32)
        return _ranked(query, model, known, scores, candidates, not history.item_ids, clock)

    def _read_user(self, user_id: str) -> PackedUser:
        with _features_errors():
            return self._features.user(user_id).user

    def _read_items(self, model: ServingModel, query: RankQuery, history: _History) -> tuple[ItemRows, ItemRows]:
        """Rows of the candidates, absent ones asked of the features service, and of the history."""
        ids, manifest = query.candidate_item_ids, model.manifest
        shape = (len(manifest.item_fields), manifest.version, manifest.augmented_dimension)
        rows = self._cache.gather([*ids, *history.item_ids], *shape)
        candidates, past = rows.at(slice(len(ids))), rows.at(slice(len(ids), None))
        absent = np.flatnonzero(candidates.scenario == ABSENT)
        if len(absent):
            absent_ids = [ids[position] for position in absent.tolist()]
            candidates.put(absent, self._read_absent(absent_ids).gather(absent_ids, *shape))
        return candidates, past

    def _read_absent(self, item_ids: Sequence[str]) -> ItemCache:
        """A cache of those items that the store has though the cache does not.

        They are not kept: the stream of changes will bring them, and a read that overlaps with it may be older.
        """
        with _features_errors():
            batch = self._features.items(item_ids)
        found = ItemCache(self._cache.interner)
        found.apply(batch.items)
        return found

    def _inputs(
        self,
        model: ServingModel,
        query: RankQuery,
        user: PackedUser,
        history: _History,
        past: ItemRows,
        items: ItemRows,
        known: npt.NDArray[np.intp],
    ) -> ScorerInputs:
        """The arrays of services.model_registry.SCORER_INPUTS for one user, B = 1."""
        index, length = model.vocabulary.item_index, model.manifest.history_length
        item_id = np.array([index(query.candidate_item_ids[p]) for p in known.tolist()], dtype=np.int64)
        knowledge = items.augmented if query.use_knowledge else np.zeros_like(items.augmented)
        past_id = np.array([index(item_id) for item_id in history.item_ids], dtype=np.int64)
        return {
            "item_id": item_id[None],
            "item_fields": model.fields.indices(items.field_codes)[None],
            "item_augmented": knowledge[None],
            "history_item_id": _padded(past_id, length)[None],
            "history_fields": _padded(model.fields.indices(past.field_codes), length)[None],
            "history_rating": _padded(np.array(history.ratings, dtype=np.float32), length)[None],
            "user_augmented": _user_vector(user, model, query.use_knowledge)[None],
        }


class _Clock:
    """Milliseconds by stage, and what is left of the caller's time."""

    def __init__(self, timeout_seconds: float | None) -> None:
        self._start, self._timeout_seconds = time.perf_counter(), timeout_seconds
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._stages[name] = (time.perf_counter() - start) * 1000

    def seconds_left(self) -> float | None:
        if self._timeout_seconds is None:
            return None
        return self._timeout_seconds - (time.perf_counter() - self._start)

    def timings_ms(self) -> dict[str, float]:
        return self._stages | {"total": (time.perf_counter() - self._start) * 1000}


def _check(query: RankQuery) -> None:
    violations = list(check_id("user_id", query.user_id))
    if query.scenario not in scenario_names():
        violations.append(("scenario", f"must be one of: {', '.join(scenario_names())}"))
    violations.extend(_check_candidates(query.candidate_item_ids))
    if violations:
        raise InvalidRequest(violations)


def _check_candidates(ids: Sequence[str]) -> Iterator[Violation]:
    if not 1 <= len(ids) <= MAX_CANDIDATES:
        yield "candidate_item_ids", f"must hold 1 to {MAX_CANDIDATES} ids, not {len(ids)}"
        return
    if not _plainly_valid(ids):
        for position, item_id in enumerate(ids):
            yield from check_id(f"candidate_item_ids[{position}]", item_id)
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        position = next(i for i, item_id in enumerate(ids) if item_id in seen or seen.add(item_id))  # type: ignore[func-returns-value]
        yield f"candidate_item_ids[{position}]", "must not repeat an id that stands before it"


def _plainly_valid(ids: Sequence[str]) -> bool:
    """Whether a glance at all ids together shows that check_id passes: it costs 1/20 of asking for each."""
    lengths = [len(item_id) for item_id in ids]
    return min(lengths) > 0 and max(lengths) <= MAX_ID_BYTES // UTF8_BYTES and "".join(ids).isprintable()


def _check_scenario(model: ServingModel, scenario: str) -> None:
    if model.manifest.scenario != scenario:
        raise FailedPrecondition(
            f"model version {model.manifest.version} was trained for scenario {model.manifest.scenario!r}, "
            f"not {scenario!r}: train a version for it, then run `loreline models promote`"
        )


@contextmanager
def _features_errors() -> Iterator[None]:
    try:
        yield
    except ServiceUnavailableError as error:
        raise DependencyUnavailable("features", str(error)) from error


def _history(user: PackedUser, request_time: int | None, length: int) -> _History:
    """The last `length` interactions that are not after the request's time, oldest first."""
    latest = time.time() if request_time is None else request_time
    positions = [position for position, moment in enumerate(user.times) if moment <= latest][-length:]
    return _History([user.item_ids[p] for p in positions], [user.ratings[p] for p in positions])


def _padded(values: npt.NDArray[np.generic], length: int) -> npt.NDArray[np.generic]:
    """(n, ...) filled with PADDING at the end to (length, ...)."""
    padded = np.full((length, *values.shape[1:]), PADDING, dtype=values.dtype)
    padded[: len(values)] = values
    return padded


def _user_vector(user: PackedUser, model: ServingModel, use_knowledge: bool) -> npt.NDArray[np.float32]:
    width = model.manifest.augmented_dimension
    vector = user.augmented.get(model.manifest.version) if use_knowledge else None
    return np.zeros(width, dtype=np.float32) if vector is None or len(vector) != width else vector


def _score(model: ServingModel, inputs: ScorerInputs, seconds_left: float | None) -> npt.NDArray[np.float32]:
    if seconds_left is not None and seconds_left <= 0:
        raise DeadlineExceeded("no time was left to score")
    scores: npt.NDArray[np.float32] = model.scorer.score(inputs, seconds_left)[0]
    if not np.isfinite(scores).all():
        raise PlatformError(f"model version {model.manifest.version} gave scores that are not finite numbers")
    return scores


def _ranked(
    query: RankQuery,
    model: ServingModel,
    known: npt.NDArray[np.intp],
    scores: npt.NDArray[np.float32],
    candidates: ItemRows,
    cold_start: bool,
    clock: _Clock,
) -> RankedList:
    order = np.argsort(-scores, kind="stable")[: query.top_k or None]
    best, is_known = known[order], set(known.tolist())
    ids = query.candidate_item_ids
    return RankedList(
        item_ids=[ids[position] for position in best.tolist()],
        scores=scores[order],
        knowledge_used=candidates.has_knowledge[best] & query.use_knowledge,
        unknown_item_ids=[item_id for position, item_id in enumerate(ids) if position not in is_known],
        model_version=model.manifest.version,
        cold_start=cold_start,
        timings_ms=clock.timings_ms(),
    )
