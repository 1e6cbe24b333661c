"""Client of loreline.ranking.v1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from loreline.client.channel import Client
from loreline.client.errors import client_errors
from loreline.client.messages import timestamp
from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc


@dataclass(frozen=True)
class Ranked:
    """A ranked list in columns, best first; `timings_ms` by stage."""

    item_ids: list[str]
    scores: npt.NDArray[np.float32]
    knowledge_used: list[bool]
    unknown_item_ids: list[str]
    model_version: str
    user_route: str  # KNOWN or COLD_START
    timings_ms: dict[str, float]
    attribution_id: str


class RankingClient(Client):
    """Asks the ranking service. `timeout_seconds` bounds one call."""

    def __init__(self, address: str, timeout_seconds: float = 2.0) -> None:
        super().__init__(address, timeout_seconds)
        self._stub = ranking_pb2_grpc.RankingServiceStub(self._channel)

    def rank(
        self,
        user_id: str,
        scenario: str,
        candidate_item_ids: Sequence[str],
        *,
        use_knowledge: bool = True,
        top_k: int = 0,
        request_time: datetime | None = None,
    ) -> Ranked:
        """Rank 1 to 10,000 candidates; `top_k` 0 returns all, `request_time` None means now. Raises ClientError."""
        request = ranking_pb2.RankRequest(
            user_id=user_id,
            scenario=scenario,
            candidate_item_ids=candidate_item_ids,
            use_knowledge=use_knowledge,
            top_k=top_k,
        )
        if request_time is not None:
            request.context.request_time.CopyFrom(timestamp(request_time))
        with client_errors():
            return _ranked(self._stub.Rank(request, timeout=self.timeout_seconds))


def _ranked(response: ranking_pb2.RankResponse) -> Ranked:
    timings = response.timings
    return Ranked(
        item_ids=list(response.item_ids),
        scores=np.array(response.scores, dtype=np.float32),
        knowledge_used=list(response.knowledge_used),
        unknown_item_ids=list(response.unknown_item_ids),
        model_version=response.model_version,
        user_route=ranking_pb2.UserRoute.Name(response.user_route).removeprefix("USER_ROUTE_"),
        timings_ms={field.name.removesuffix("_ms"): value for field, value in timings.ListFields()},
        attribution_id=response.attribution_id,
    )
