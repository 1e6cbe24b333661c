"""What is asked of ranking, and what it answers, in plain types. Limits stand in loreline.ranking.v1."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loreline.domain import Item, Knowledge


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Who looks. `request_time`: seconds since 1970-01-01 UTC, None means now; `model_version`: "" means as assigned.

    `timeout_seconds`: what is left of the caller's time, None without a limit. `queued_ms`: how long the call has
    waited for its turn. `is_active` tells whether the caller still waits.
    """

    user_id: str
    scenario: str
    request_time: int | None = None
    model_version: str = ""
    timeout_seconds: float | None = None
    queued_ms: float = 0.0
    is_active: Callable[[], bool] = lambda: True


@dataclass(frozen=True, kw_only=True)
class RankQuery(Viewer):
    """What could be shown. `inline_items` are candidates that may not be stored; `top_k` 0 returns all.

    `explain` asks for the scores without knowledge too.
    """

    candidate_item_ids: Sequence[str]
    inline_items: Sequence[Item] = ()
    use_knowledge: bool = True
    top_k: int = 0
    explain: bool = False


@dataclass(frozen=True)
class RankedList:
    """The known candidates, best first: `scores` (N,) float32, `knowledge_used` (N,) bool; `timings_ms` by stage.

    `scores_without_knowledge` is (N,) float32, or empty when not asked for. `assignment` says why this version scored.
    """

    item_ids: list[str]
    scores: npt.NDArray[np.float32]
    knowledge_used: npt.NDArray[np.bool_]
    unknown_item_ids: list[str]
    model_version: str
    assignment: str
    scenario_route: str  # KNOWN or GENERAL
    cold_start: bool
    timings_ms: dict[str, float]
    scoring_place: str = ""  # IN_PROCESS, TRITON or FALLBACK; empty when nothing was scored
    scores_without_knowledge: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    scorer_kind: str = "kar"  # of the version
    reranked: int = 0  # first places that a re-ranker put in order
    attribution_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class FieldFilter:
    """Values that one of the scenario's item fields may have."""

    field: str
    values: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RecommendQuery(Viewer):
    """How many of what may be shown. `candidates` 0: as many as the process is set to rank. All filters must hold."""

    count: int
    candidates: int = 0
    include_seen: bool = False
    filters: Sequence[FieldFilter] = ()
    use_knowledge: bool = True


@dataclass(frozen=True)
class Recommendation:
    """A ranked list without unknown items; how many were `found` before filters, and how many of them ranked."""

    ranked: RankedList
    found: int
    ranked_candidates: int
    by_history: bool  # False: popular and new items, for want of a history with vectors


@dataclass(frozen=True, kw_only=True)
class ExplainQuery(Viewer):
    """Which score to explain."""

    item_id: str


@dataclass(frozen=True)
class Explanation:
    """One score, and what it is made of. Expert weights by name sum to 1; empty where they cannot be told."""

    item: Item
    score: float
    score_without_knowledge: float
    score_without_item_knowledge: float
    score_without_user_knowledge: float
    item_knowledge: Knowledge | None
    user_knowledge: Knowledge | None
    item_experts: dict[str, float]
    user_experts: dict[str, float]
    model_version: str
    cold_start: bool
    scenario_route: str
