"""Finds candidates for callers who have none: the nearest to what the user liked last, filtered, then ranked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loreline.domain import PackedUser
from services.ranking.clock import Clock
from services.ranking.item_index import ItemIndex
from services.ranking.item_rows import ItemRows
from services.ranking.limits import MAX_CANDIDATES, check_filter_fields, check_recommend
from services.ranking.popularity import Popularity
from services.ranking.queries import RankQuery, Recommendation, RecommendQuery
from services.ranking.ranker import Models, Ranker, ReadAhead, scenario_route
from services.ranking.request_reads import RequestReads
from services.ranking.scoring_request import History, history_of
from services.ranking.serving_model import ServingModel
from services.runtime.errors import DependencyUnavailable
from services.scenarios import load_scenario

QUERIES = 8  # of the user's liked items, the newest: one search each
WIDENING = 4  # a search whose results the filters left too few of is made again for so many times more


class Recommender:
    """Retrieval before Ranker. Safe to share between threads. `ready` tells whether the index is whole."""

    def __init__(
        self,
        reads: RequestReads,
        models: Models,
        ranker: Ranker,
        index: ItemIndex,
        ready: Callable[[], bool],
        candidates: int,
    ) -> None:
        self._reads, self._models, self._ranker = reads, models, ranker
        self._index, self._ready, self._candidates = index, ready, candidates
        self._popularity = Popularity()

    def recommend(self, query: RecommendQuery) -> Recommendation:
        """The best of the nearest items. Raises InvalidRequest, FailedPrecondition, DependencyUnavailable (also while
        the index is built), DeadlineExceeded.
        """
        clock = Clock(query.timeout_seconds, query.queued_ms, query.is_active)
        check_recommend(query)
        assigned = self._models.for_request(query.user_id, query.scenario, query.model_version)
        scenario_route(assigned.model, query.scenario)
        finder = self._models.for_retrieval(assigned)
        check_filter_fields(query, load_scenario(query.scenario).field_names)
        if not self._ready():
            raise DependencyUnavailable("index", "it is still being built")
        user = self._reads.user(query.user_id, clock)
        with clock.stage("retrieval"):
            search = _Search(self._reads, self._index, self._popularity, query, finder, user, clock)
            wanted = max(query.candidates or self._candidates, query.count)
            found, allowed = search.candidates(wanted)
        asked = RankQuery(
            user_id=query.user_id,
            scenario=query.scenario,
            candidate_item_ids=allowed,
            request_time=query.request_time,
            use_knowledge=query.use_knowledge,
            top_k=query.count,
        )
        ranked = self._ranker.rank(asked, ReadAhead(assigned, user, clock))
        return Recommendation(
            ranked=replace(ranked, unknown_item_ids=[]),  # deleted since they were found
            found=found,
            ranked_candidates=len(allowed) - len(ranked.unknown_item_ids),
            by_history=search.by_history,
        )


class _Search:
    """One request's search. Its queries are the vectors of the newest liked items of the user's history."""

    def __init__(
        self,
        reads: RequestReads,
        index: ItemIndex,
        popularity: Popularity,
        query: RecommendQuery,
        model: ServingModel,
        user: PackedUser,
        clock: Clock,
    ) -> None:
        self._reads, self._index, self._popularity = reads, index, popularity
        self._query, self._model, self._clock = query, model, clock
        self._seen = frozenset() if query.include_seen else frozenset(user.item_ids)
        liked = _newest_liked(user, query)
        popularity.note(query.scenario, query.user_id, liked)
        rows, _ = reads.rows(liked, History([], []), model, clock)
        self._vectors = rows.augmented[rows.has_knowledge]
        self.by_history = len(self._vectors) > 0

    def candidates(self, wanted: int) -> tuple[int, list[str]]:
        """How many were found, and at most `wanted` of them that pass the filters.

        A user without liked items that have vectors is given popular and new ones, and so is one for whom the search
        found fewer than are to be returned.
        """
        found, allowed = self._widening(self._near, wanted) if self.by_history else (0, [])
        if len(allowed) < self._query.count:
            more, further = self._widening(self._popular_and_new, wanted)
            found, allowed = found + more, list(dict.fromkeys([*allowed, *further]))
        return found, allowed[:wanted]

    def _widening(self, find: Callable[[int], list[str]], wanted: int) -> tuple[int, list[str]]:
        width, before = wanted, -1
        while True:
            found = find(width)
            allowed = self._allowed(found)
            if len(allowed) >= self._query.count or width >= MAX_CANDIDATES or len(found) <= before:
                return len(found), allowed  # enough, or no more to be found
            width, before = min(width * WIDENING, MAX_CANDIDATES), len(found)

    def _near(self, width: int) -> list[str]:
        each = min(width, 1 + 2 * width // len(self._vectors))  # twice its share, for lists that overlap
        each += min(each, len(self._seen))  # what was seen is near, and will be left out
        lists = self._index.nearest(self._query.scenario, self._model.manifest.version, self._vectors, each)
        return _merged(lists, MAX_CANDIDATES)

    def _popular_and_new(self, width: int) -> list[str]:
        popular = self._popularity.most(self._query.scenario, width)
        return _merged([popular, self._index.newest(self._query.scenario, width)], width)

    def _allowed(self, item_ids: Sequence[str]) -> list[str]:
        unseen = [item_id for item_id in item_ids if item_id not in self._seen]
        if not unseen:
            return []
        passes = self._passes(self._reads.content(unseen, self._clock))
        return [unseen[position] for position in np.flatnonzero(passes).tolist()]

    def _passes(self, rows: ItemRows) -> npt.NDArray[np.bool_]:
        code, names = rows.interner.find, load_scenario(self._query.scenario).field_names
        passes: npt.NDArray[np.bool_] = rows.scenario == code(self._query.scenario)
        for one in self._query.filters:
            codes = [code(value) for value in one.values]
            passes &= np.isin(rows.field_codes[:, names.index(one.field)], codes)
        return passes


def _newest_liked(user: PackedUser, query: RecommendQuery) -> list[str]:
    """Distinct ids, the newest first: rated above what the scenario calls positive, or not rated at all."""
    history = history_of(user, query.request_time, len(user.item_ids))
    above = load_scenario(query.scenario).positive_above
    liked = [i for i, rating in zip(history.item_ids, history.ratings, strict=True) if rating > above or not rating]
    return list(dict.fromkeys(reversed(liked)))[:QUERIES]


def _merged(lists: Sequence[Iterable[str]], count: int) -> list[str]:
    """The first of each list, then the second of each, and so on, without repeats."""
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return list(itertools.islice(dict.fromkeys(item_id for item_id in rounds if item_id is not None), count))
