"""Reads that are sent once more when their answer takes long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from ranking_stub import RankingStub, serve

from loreline.client import AsyncRankingClient, ClientOptions, InvalidArgumentError, RankingClient
from loreline.client.hedging import HedgeBudget
from services.runtime.errors import DependencyUnavailable, InvalidRequest

HEDGED = ClientOptions(hedge_after_seconds=0.05, connections=2)
Ranks = Callable[[str], str]


def rank(address: str) -> str:
    """Which request answered, with the plain client."""
    with RankingClient(address, 10, HEDGED) as client:
        return client.rank("1", "movies", ["1"]).attribution_id


def rank_async(address: str) -> str:
    """The same with the client that is awaited."""

    async def ask() -> str:
        async with AsyncRankingClient(address, 10, HEDGED) as client:
            return (await client.rank("1", "movies", ["1"])).attribution_id

    return asyncio.run(ask())


@pytest.fixture(params=[rank, rank_async])
def ranks(request: pytest.FixtureRequest) -> Ranks:
    chosen: Ranks = request.param
    return chosen


def test_the_second_request_answers_for_a_slow_first(ranks: Ranks) -> None:
    """It goes over another connection, and the first is cancelled."""
    release = threading.Event()
    servicer = RankingStub(before=lambda number: release.wait(100) if number == 1 else None)
    with serve(servicer) as address:
        assert ranks(address) == "2"
        assert servicer.cancelled.wait(100)
        release.set()
    assert (servicer.calls, len(servicer.peers)) == (2, 2)


def test_a_quick_answer_is_asked_for_once() -> None:
    """No second request is sent."""
    servicer = RankingStub()
    with serve(servicer) as address:
        with RankingClient(address) as warm:
            warm.rank("1", "movies", ["1"])
        with RankingClient(address, 10, ClientOptions(hedge_after_seconds=5)) as client:
            client.rank("1", "movies", ["1"])
    assert servicer.calls == 2


def test_a_slow_first_answers_when_the_second_fails(ranks: Ranks) -> None:
    """One failure is not yet the answer."""
    second = threading.Event()

    def before(number: int) -> None:
        if number == 1:
            assert second.wait(100)
        else:
            second.set()
            raise DependencyUnavailable("features", "away")

    with serve(RankingStub(before=before)) as address:
        assert ranks(address) == "1"


def test_both_refused_is_told(ranks: Ranks) -> None:
    """As the error of the platform."""
    both = threading.Barrier(2)

    def before(_number: int) -> None:
        both.wait(100)
        raise InvalidRequest([("top_k", "must be less")])

    with serve(RankingStub(before=before)) as address, pytest.raises(InvalidArgumentError):
        ranks(address)


def test_second_requests_have_a_budget() -> None:
    """When everything is slow they would double the load: about one in ten calls may have one."""
    budget = HedgeBudget(most=2, share=0.1)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(11):
        budget.earn()
    assert [budget.take() for _ in range(2)] == [True, False]
    for _ in range(1000):
        budget.earn()
    assert [budget.take() for _ in range(3)] == [True, True, False]
