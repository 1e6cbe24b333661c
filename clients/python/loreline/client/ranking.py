"""Clients of loreline.ranking.v1."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from loreline.client import ranking_calls as calls
from loreline.client.asynchronous import AsyncClient, awaited
from loreline.client.blocking import Client, blocking
from loreline.client.channel import ClientOptions
from loreline.client.errors import ClientError, client_errors
from loreline.client.ranking_calls import Ranked, RankRequest, stream_request, stream_result
from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc


class RankingClient(Client):
    """Asks the ranking service. `timeout_seconds` bounds one call."""

    def __init__(self, address: str, timeout_seconds: float = 2.0, options: ClientOptions | None = None) -> None:
        super().__init__(ranking_pb2_grpc.RankingServiceStub, address, timeout_seconds, options)

    rank = blocking(calls.rank)
    explain = blocking(calls.explain)
    recommend = blocking(calls.recommend)

    def rank_stream(
        self, requests: Iterable[RankRequest], timeout_seconds: float | None = None
    ) -> Iterator[tuple[int, Ranked | ClientError]]:
        """Rank several lists on one stream: yields (place of the request, its list or what it failed with).

        The lists come as they are ready. `timeout_seconds` bounds the whole stream; None lasts as long as the requests
        do. Raises ClientError when the stream is cut. Who stops reading early ends the server's work by closing the
        generator.
        """
        sent = (stream_request(place, asked) for place, asked in enumerate(requests))
        with client_errors():
            call = self.stub.RankStream(sent, timeout=timeout_seconds)
            try:
                for answer in call:
                    yield answer.id, stream_result(answer)
            finally:
                call.cancel()


class AsyncRankingClient(AsyncClient):
    """RankingClient to be awaited."""

    def __init__(self, address: str, timeout_seconds: float = 2.0, options: ClientOptions | None = None) -> None:
        super().__init__(ranking_pb2_grpc.RankingServiceStub, address, timeout_seconds, options)

    rank = awaited(calls.rank)
    explain = awaited(calls.explain)
    recommend = awaited(calls.recommend)

    async def rank_stream(
        self, requests: AsyncIterable[RankRequest], timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[int, Ranked | ClientError]]:
        """As RankingClient.rank_stream; the requests may come one by one."""
        with client_errors():
            call = self.stub.RankStream(_sent(requests), timeout=timeout_seconds)
            try:
                async for answer in call:
                    yield answer.id, stream_result(answer)
            finally:
                call.cancel()


async def _sent(requests: AsyncIterable[RankRequest]) -> AsyncIterator[ranking_pb2.RankStreamRequest]:
    place = 0
    async for asked in requests:
        yield stream_request(place, asked)
        place += 1
