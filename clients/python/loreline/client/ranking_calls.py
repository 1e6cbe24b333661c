"""The calls of loreline.ranking.v1: their plain types, requests and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from google.rpc import code_pb2

from loreline.client.calls import Call
from loreline.client.errors import ClientError, client_error
from loreline.client.messages import item_message, item_of, knowledge_of, timestamp
from loreline.domain import Item, Knowledge
from loreline.ranking.v1 import ranking_pb2


@dataclass(frozen=True)
class Ranked:
    """A ranked list in columns, best first; `timings_ms` by stage.

    `scores_without_knowledge` is empty unless asked for; `reranked` counts the first places that a re-ranker put in
    order; `assignment` says why the user was given this version.
    """

    item_ids: list[str]
    scores: npt.NDArray[np.float32]
    knowledge_used: list[bool]
    unknown_item_ids: list[str]
    model_version: str
    user_route: str  # KNOWN or COLD_START
    timings_ms: dict[str, float]
    attribution_id: str
    scenario_route: str  # KNOWN or GENERAL
    scoring_place: str  # IN_PROCESS, TRITON or FALLBACK
    assignment: str
    scores_without_knowledge: npt.NDArray[np.float32]
    reranked: int


@dataclass(frozen=True)
class Recommended:
    """A ranked list, how many items were `found` before filters, how many of those ranked, and what they were near to.

    `query` is HISTORY, or POPULAR for a user without a history that has vectors.
    """

    ranked: Ranked
    found: int
    ranked_candidates: int
    query: str


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
    user_route: str  # KNOWN or COLD_START
    scenario_route: str  # KNOWN or GENERAL


@dataclass(frozen=True)
class RankRequest:
    """One list to rank; the fields are as in `rank`."""

    user_id: str
    scenario: str
    candidate_item_ids: Sequence[str]
    use_knowledge: bool = True
    top_k: int = 0
    request_time: datetime | None = None
    inline_items: Sequence[Item] = ()
    model_version: str = ""
    explain: bool = False


def rank(
    user_id: str,
    scenario: str,
    candidate_item_ids: Sequence[str],
    *,
    use_knowledge: bool = True,
    top_k: int = 0,
    request_time: datetime | None = None,
    inline_items: Sequence[Item] = (),
    model_version: str = "",
    explain: bool = False,
) -> Call[Ranked]:
    """Rank 1 to 10,000 candidates; `top_k` 0 returns all, `request_time` None means now. Raises ClientError.

    `inline_items` are further candidates with their content, for those not stored yet. `explain` adds the scores
    without knowledge.
    """
    asked = RankRequest(
        user_id,
        scenario,
        candidate_item_ids,
        use_knowledge=use_knowledge,
        top_k=top_k,
        request_time=request_time,
        inline_items=inline_items,
        model_version=model_version,
        explain=explain,
    )
    return Call("Rank", rank_request(asked), ranked_of, is_read=True)


def explain(
    user_id: str,
    scenario: str,
    item_id: str,
    *,
    request_time: datetime | None = None,
    model_version: str = "",
) -> Call[Explanation]:
    """Explain one candidate's score. Raises NotFoundError when the item is not stored, ClientError."""
    request = ranking_pb2.ExplainRequest(
        user_id=user_id,
        scenario=scenario,
        item_id=item_id,
        context=_context(request_time),
        model_version=model_version,
    )
    return Call("Explain", request, explanation_of, is_read=True)


def recommend(
    user_id: str,
    scenario: str,
    count: int,
    *,
    candidates: int = 0,
    include_seen: bool = False,
    filters: Mapping[str, Sequence[str]] | None = None,
    use_knowledge: bool = True,
    request_time: datetime | None = None,
    model_version: str = "",
) -> Call[Recommended]:
    """Find and rank items, the best 1 to 1,000. Raises FailedPreconditionError without an index, ClientError.

    `candidates` are ranked, 0: as many as the process is set to. `filters`: the values that a field may have.
    """
    request = ranking_pb2.RecommendRequest(
        user_id=user_id,
        scenario=scenario,
        count=count,
        candidates=candidates,
        include_seen=include_seen,
        filters=[ranking_pb2.FieldFilter(field=field, values=values) for field, values in (filters or {}).items()],
        context=_context(request_time),
        use_knowledge=use_knowledge,
        model_version=model_version,
    )
    return Call("Recommend", request, recommended_of, is_read=True)


def stream_request(place: int, asked: RankRequest) -> ranking_pb2.RankStreamRequest:
    """The contract's message of a request of a stream; its place is its id."""
    return ranking_pb2.RankStreamRequest(id=place, request=rank_request(asked))


def rank_request(asked: RankRequest) -> ranking_pb2.RankRequest:
    """The contract's message of a plain request."""
    return ranking_pb2.RankRequest(
        user_id=asked.user_id,
        scenario=asked.scenario,
        candidate_item_ids=asked.candidate_item_ids,
        use_knowledge=asked.use_knowledge,
        top_k=asked.top_k,
        context=_context(asked.request_time),
        inline_items=[item_message(item) for item in asked.inline_items],
        model_version=asked.model_version,
        explain=asked.explain,
    )


def ranked_of(response: ranking_pb2.RankResponse) -> Ranked:
    """The plain list of a contract's message."""
    timings = response.timings
    return Ranked(
        item_ids=list(response.item_ids),
        scores=np.array(response.scores, dtype=np.float32),
        knowledge_used=list(response.knowledge_used),
        unknown_item_ids=list(response.unknown_item_ids),
        model_version=response.model_version,
        user_route=_word(ranking_pb2.UserRoute, response.user_route),
        timings_ms={field.name.removesuffix("_ms"): value for field, value in timings.ListFields()},
        attribution_id=response.attribution_id,
        scenario_route=_word(ranking_pb2.ScenarioRoute, response.scenario_route),
        scoring_place=_word(ranking_pb2.ScoringPlace, response.scoring_place),
        assignment=response.assignment,
        scores_without_knowledge=np.array(response.scores_without_knowledge, dtype=np.float32),
        reranked=response.reranked,
    )


def recommended_of(response: ranking_pb2.RecommendResponse) -> Recommended:
    """The plain recommendation of a contract's message."""
    return Recommended(
        ranked=ranked_of(response.ranked),
        found=response.found,
        ranked_candidates=response.ranked_candidates,
        query=_word(ranking_pb2.RetrievalQuery, response.query),
    )


def explanation_of(response: ranking_pb2.ExplainResponse) -> Explanation:
    """The plain explanation of a contract's message."""
    return Explanation(
        item=item_of(response.item),
        score=response.score,
        score_without_knowledge=response.score_without_knowledge,
        score_without_item_knowledge=response.score_without_item_knowledge,
        score_without_user_knowledge=response.score_without_user_knowledge,
        item_knowledge=knowledge_of(response.item_knowledge) if response.HasField("item_knowledge") else None,
        user_knowledge=knowledge_of(response.user_knowledge) if response.HasField("user_knowledge") else None,
        item_experts={one.expert: one.weight for one in response.item_experts},
        user_experts={one.expert: one.weight for one in response.user_experts},
        model_version=response.model_version,
        user_route=_word(ranking_pb2.UserRoute, response.user_route),
        scenario_route=_word(ranking_pb2.ScenarioRoute, response.scenario_route),
    )


def stream_result(answer: ranking_pb2.RankStreamResponse) -> Ranked | ClientError:
    """The list of an answer of a stream, or the error that stands in its place."""
    if answer.WhichOneof("result") == "response":
        return ranked_of(answer.response)
    failure = answer.failure
    violations = [(violation.field, violation.description) for violation in failure.violations]
    return client_error(code_pb2.Code.Name(failure.code), failure.message, violations)


def _context(request_time: datetime | None) -> ranking_pb2.RankContext | None:
    return None if request_time is None else ranking_pb2.RankContext(request_time=timestamp(request_time))


def _word(enum: Any, code: int) -> str:
    """A value's name without its enum's, `USER_ROUTE_KNOWN` for example as `KNOWN`."""
    return str(enum.Name(code)).removeprefix(f"{enum.Name(0).removesuffix('UNSPECIFIED')}")
