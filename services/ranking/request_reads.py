"""Reads what a request needs of its user and items: the user from the store, items from the cache where it can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from loreline.domain import Item, PackedUser
from services.ranking.clock import Clock
from services.ranking.feature_reads import FeatureReads
from services.ranking.item_cache import ItemCache
from services.ranking.item_content import liked_places, most_fields
from services.ranking.item_rows import ItemRows
from services.ranking.loading import AnyModel
from services.ranking.prompt_request import PromptRequest, liked_items, prompt_candidates
from services.ranking.queries import Viewer
from services.ranking.scoring_request import History, ScoringRequest, candidates_of, history_of, user_vector
from services.ranking.serving_model import ServingModel
from services.ranking.unictr_model import UniCtrModel

MAX_READ = 1_000  # ids in one read: others have their turn between two of them
NOTHING_INLINE: Mapping[str, Item] = {}
LIKED_SHARE = 4  # so many interactions are read for each liked item that a prompt has room for


class RequestReads:
    """Joins store and cache. Safe to share between threads.

    `is_current` tells whether the cache follows the changes: if not, every item of a request is read from the store,
    in one batch, as are those that the cache lacks or has put out. `count` is told of (hits, misses) of the cache.
    """

    def __init__(
        self,
        store: FeatureReads,
        cache: ItemCache,
        is_current: Callable[[], bool],
        count: Callable[[int, int], None] = lambda _hits, _misses: None,
    ) -> None:
        self._store, self._cache, self._is_current, self._count = store, cache, is_current, count

    def user(self, user_id: str, clock: Clock) -> PackedUser:
        """One user, empty when nothing is stored; timed as `user_read`.

        Raises DependencyUnavailable, DeadlineExceeded.
        """
        with clock.stage("user_read"):
            return self._store.user(user_id, clock.seconds_left())

    def asked(
        self,
        user: PackedUser,
        viewer: Viewer,
        model: AnyModel,
        item_ids: Sequence[str],
        clock: Clock,
        inline: Mapping[str, Item] = NOTHING_INLINE,
    ) -> ScoringRequest | PromptRequest:
        """Read the items, and put them together with the user; timed as `item_read`.

        Raises DependencyUnavailable, DeadlineExceeded.
        """
        if isinstance(model, UniCtrModel):
            return self._prompt_request(user, viewer, model, item_ids, clock, inline)
        return self.scoring_request(user, viewer, model, item_ids, clock, inline)

    def scoring_request(
        self,
        user: PackedUser,
        viewer: Viewer,
        model: ServingModel,
        item_ids: Sequence[str],
        clock: Clock,
        inline: Mapping[str, Item] = NOTHING_INLINE,
    ) -> ScoringRequest:
        """As `asked`, of a version that scores stored features; a student is told what the user liked alone."""
        manifest = model.manifest
        liked_alone, length = manifest.kind == "unictr-student", manifest.history_length
        history = history_of(user, viewer.request_time, length * (LIKED_SHARE if liked_alone else 1))
        with clock.stage("item_read"):
            rows, past = self.rows(item_ids, history, model, clock)
        if liked_alone:
            places = liked_places(history.ratings, past, length)
            history, past = history.at(places), past.at(places)
        return ScoringRequest(
            model=model,
            candidates=candidates_of(item_ids, rows, viewer.scenario, inline, model),
            history=history,
            past_fields=model.fields.indices(past),
            user_augmented=user_vector(user, model),
            scenario=viewer.scenario,
        )

    def _prompt_request(
        self,
        user: PackedUser,
        viewer: Viewer,
        model: UniCtrModel,
        item_ids: Sequence[str],
        clock: Clock,
        inline: Mapping[str, Item],
    ) -> PromptRequest:
        length = model.prompts.history_length
        history = history_of(user, viewer.request_time, LIKED_SHARE * length)
        with clock.stage("item_read"):
            rows, past = self.rows(item_ids, history, model, clock)
        return PromptRequest(
            model=model,
            scenario=viewer.scenario,
            user_id=viewer.user_id,
            history=liked_items(history, past, length),
            candidates=prompt_candidates(item_ids, rows, viewer.scenario, inline),
        )

    def rows(
        self, item_ids: Sequence[str], history: History, model: AnyModel, clock: Clock
    ) -> tuple[ItemRows, ItemRows]:
        """Rows of some items and of the history's, as the model's version sees them.

        Raises DependencyUnavailable, DeadlineExceeded.
        """
        ids, manifest = [*item_ids, *history.item_ids], model.manifest
        fields = len(manifest.item_fields) if manifest.has_adaptor else most_fields()
        rows = self._gathered(ids, len(item_ids), (fields, manifest.version, manifest.augmented_dimension), clock)
        return rows.at(slice(len(item_ids))), rows.at(slice(len(item_ids), None))

    def content(self, item_ids: Sequence[str], clock: Clock) -> ItemRows:
        """Rows of some items without vectors; their codes stand in the order of each one's own scenario's fields."""
        return self._gathered(item_ids, len(item_ids), (most_fields(), "", 0), clock)

    def _gathered(self, ids: Sequence[str], candidates: int, shape: tuple[int, str, int], clock: Clock) -> ItemRows:
        """Rows of the cache, and of the store where the cache cannot answer."""
        rows = self._cache.gather(ids, *shape)
        wanted = self._to_read(rows, candidates)
        self._count(len(ids) - len(wanted), len(wanted))
        if len(wanted):
            wanted_ids = [ids[position] for position in wanted.tolist()]
            rows.put(wanted, self._read(wanted_ids, clock).gather(wanted_ids, *shape))
        return rows

    def _to_read(self, rows: ItemRows, candidates: int) -> npt.NDArray[np.intp]:
        """Positions that the cache cannot answer for.

        An item of the history that is absent from a whole cache is not stored any more: only a cache that has put
        items out is asked no further than it can tell.
        """
        if not self._is_current():
            return np.arange(len(rows.scenario))
        asked = rows.absent if self._cache.has_evicted else rows.absent[:candidates]
        return np.flatnonzero(asked)

    def _read(self, item_ids: Sequence[str], clock: Clock) -> ItemCache:
        """A cache of those items that are stored; the process's own takes over what no change came in between for."""
        distinct = list(dict.fromkeys(item_ids))
        with self._cache.reading() as admit:
            pages = [distinct[start : start + MAX_READ] for start in range(0, len(distinct), MAX_READ)]
            items = [item for page in pages for item in self._store.items(page, clock.check("item_read"))]
            admit(items)
        found = ItemCache(self._cache.interner)
        found.apply(items)
        return found
