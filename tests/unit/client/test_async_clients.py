"""The clients that are awaited: the same methods, on one event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator

import pytest
from ranking_stub import RankingStub, serve

from loreline.client import (
    AsyncEmbeddingClient,
    AsyncFeaturesClient,
    AsyncKnowledgeClient,
    AsyncRankingClient,
    ClientError,
    ClientOptions,
    DeadlineExceededError,
    EmbeddingClient,
    FeaturesClient,
    InvalidArgumentError,
    KnowledgeClient,
    OverloadedError,
    Ranked,
    RankingClient,
    RankRequest,
)
from services.cli.local_processes import free_port
from services.runtime.errors import Overloaded

PAIRS = [
    (RankingClient, AsyncRankingClient),
    (FeaturesClient, AsyncFeaturesClient),
    (EmbeddingClient, AsyncEmbeddingClient),
    (KnowledgeClient, AsyncKnowledgeClient),
]


@pytest.mark.parametrize(("plain", "awaited"), PAIRS, ids=[plain.__name__ for plain, _ in PAIRS])
def test_both_kinds_of_client_have_the_same_methods(plain: type, awaited: type) -> None:
    """With the same parameters, and every one says what it does."""
    names = {name for name, _ in inspect.getmembers(plain, inspect.isfunction) if not name.startswith("_")}
    assert names == {name for name, _ in inspect.getmembers(awaited, inspect.isfunction) if not name.startswith("_")}
    for name in names:
        one, other = getattr(plain, name), getattr(awaited, name)
        assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name
        assert one.__doc__, name
        assert other.__doc__, name


def test_a_client_says_whether_its_service_is_ready() -> None:
    """Over the connection that it has; nobody there is not ready."""
    with serve(RankingStub()) as address:

        async def ask() -> list[bool]:
            async with AsyncRankingClient(address) as client:
                return [await client.is_serving(service) for service in ("readiness", "nonsense")]

        with RankingClient(address) as client:
            assert [client.is_serving(service) for service in ("readiness", "nonsense")] == [True, False]
        assert asyncio.run(ask()) == [True, False]
    with RankingClient(f"127.0.0.1:{free_port(0)}") as nobody:
        assert not nobody.is_serving(timeout_seconds=0.3)


def test_calls_run_at_the_same_time() -> None:
    """Three that wait for each other at the server."""
    together = threading.Barrier(3)
    with serve(RankingStub(before=lambda _: together.wait(100) and None)) as address:

        async def ask() -> list[Ranked]:
            async with AsyncRankingClient(address, timeout_seconds=100) as client:
                return await asyncio.gather(*(client.rank("1", "movies", ["1", str(n)]) for n in range(3)))

        assert sorted(ranked.item_ids[0] for ranked in asyncio.run(ask())) == ["0", "1", "2"]


def test_a_failed_call_raises_as_the_plain_client_does() -> None:
    """The class, and the details of the status."""

    def before(_number: int) -> None:
        raise Overloaded("too many wait", retry_after_seconds=2.5)

    async def ask(address: str) -> None:
        async with AsyncRankingClient(address) as client:
            await client.rank("1", "movies", ["1"])

    with serve(RankingStub(before=before)) as address, pytest.raises(OverloadedError) as told:
        asyncio.run(ask(address))
    assert told.value.retry_after_seconds == 2.5


def test_a_call_may_have_a_deadline_of_its_own_and_connections_are_used_in_turn() -> None:
    """As with the plain client."""
    release = threading.Event()
    servicer = RankingStub(before=lambda number: release.wait(100) if number == 3 else None)

    async def ask(address: str) -> None:
        async with AsyncRankingClient(address, 10, ClientOptions(connections=2)) as client:
            await client.rank("1", "movies", ["1"])
            await client.rank("1", "movies", ["1"])
            with pytest.raises(DeadlineExceededError):
                await client.with_timeout(0.1).rank("1", "movies", ["1"])

    with serve(servicer) as address:
        asyncio.run(ask(address))
        release.set()
    assert len(servicer.peers) == 2


def test_a_cancelled_task_cancels_its_call() -> None:
    """The server learns of it and can stop its work."""
    arrived, release = threading.Event(), threading.Event()

    def before(_number: int) -> None:
        arrived.set()
        release.wait(100)

    async def ask(address: str) -> None:
        async with AsyncRankingClient(address, 30) as client:
            task = asyncio.create_task(client.rank("1", "movies", ["1"]))
            assert await asyncio.to_thread(arrived.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(servicer.cancelled.wait, 10)

    servicer = RankingStub(before=before)
    with serve(servicer) as address:
        asyncio.run(ask(address))
        release.set()


def test_lists_of_a_stream_come_while_requests_are_still_made() -> None:
    """Each under its place, a failure in its place, and the next request only after the answer before."""
    answers: dict[int, Ranked | ClientError] = {}

    async def ask(address: str) -> None:
        answered: asyncio.Queue[int] = asyncio.Queue()

        async def requests() -> AsyncIterator[RankRequest]:
            yield RankRequest("1", "movies", ["1", "2"])
            assert await answered.get() == 0
            yield RankRequest("1", "movies", [])

        async with AsyncRankingClient(address) as client:
            async for place, result in client.rank_stream(requests(), timeout_seconds=100):
                answers[place] = result
                await answered.put(place)

    with serve(RankingStub()) as address:
        asyncio.run(ask(address))
    assert isinstance(answers[0], Ranked)
    assert answers[0].item_ids == ["2", "1"]
    assert isinstance(answers[1], InvalidArgumentError)
    assert answers[1].violations == [("candidate_item_ids", "must have entries")]
