"""A ranking service that tells who answered and does what a test wants of it, behind a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, Service, start_server

NAME = "loreline.ranking.v1.RankingService"


class RankingStub(ranking_pb2_grpc.RankingServiceServicer):
    """Answers Rank with its name as the model version; `before(number of the call)` runs first, may raise or wait."""

    def __init__(self, name: str = "1", before: Callable[[int], None] = lambda number: None) -> None:
        self.name, self.before = name, before
        self.calls, self.peers, self.cancelled = 0, set[str](), threading.Event()
        self._lock = threading.Lock()

    def Rank(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The candidates in reverse."""
        with self._lock:
            self.calls += 1
            number = self.calls
            self.peers.add(context.peer())
        context.add_callback(self._ended)
        self.before(number)
        return ranking_pb2.RankResponse(
            item_ids=request.candidate_item_ids[::-1], scores=[0.5] * len(request.candidate_item_ids),
            model_version=self.name, attribution_id=str(number),
        )  # fmt: skip

    def RankStream(self, request_iterator: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Each list in its turn; a request without candidates fails."""
        for request in request_iterator:
            if not request.request.candidate_item_ids:
                violation = ranking_pb2.FieldViolation(field="candidate_item_ids", description="must have entries")
                failure = ranking_pb2.RankFailure(code=3, message="no candidates", violations=[violation])
                yield ranking_pb2.RankStreamResponse(id=request.id, failure=failure)
            else:
                yield ranking_pb2.RankStreamResponse(id=request.id, response=self.Rank(request.request, context))

    def _ended(self) -> None:
        self.cancelled.set()


@contextmanager
def serve(servicer: RankingStub) -> Iterator[str]:
    """The address of a server with the servicer."""

    def add(server: grpc.Server) -> None:
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server)

    health = HealthMonitor({}, [NAME], 60)
    server = start_server(ServerOptions("127.0.0.1:0", workers=8), [Service(NAME, add)], health)
    address = server.address
    try:
        yield address
    finally:
        health.stop()
        server.stop(0).wait()
