"""Rules of RankStream, over real gRPC; what bounds a stream is tested at the class that does it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from catalogue import ITEMS_BY_ID, USER, assert_ranked, best_first
from ranking_parts import Ranking

from loreline.client import ClientError, InvalidArgumentError, RankRequest, ServiceUnavailableError
from loreline.ranking.v1 import ranking_pb2
from services.ranking.request_stream import RequestStreams
from tests.waiting import wait_until

CANDIDATES = list(ITEMS_BY_ID)


def asked(user: str = "ann", *candidates: str, scenario: str = "movies") -> RankRequest:
    """One list of a page."""
    return RankRequest(user, scenario, candidates or CANDIDATES)


def test_each_request_is_answered_under_its_own_id(stocked: Ranking) -> None:
    """Many more lists than are worked on at a time, all of them whole."""
    lists = [CANDIDATES[: 1 + number % len(CANDIDATES)] for number in range(150)]
    answers = dict(stocked.client.rank_stream(asked("ann", *candidates) for candidates in lists))
    assert sorted(answers) == list(range(150))
    for number, candidates in enumerate(lists):
        assert_ranked(answers[number], best_first(candidates, USER))


def test_a_request_that_fails_says_why_and_the_stream_goes_on(stocked: Ranking) -> None:
    """Code, message and fields are those that the single call would end with."""
    answers = dict(stocked.client.rank_stream([asked("ann", "i0"), asked("", "i0", scenario=""), asked("ann", "i1")]))
    assert_ranked(answers[0], best_first(["i0"], USER))
    assert_ranked(answers[2], best_first(["i1"], USER))
    failed = answers[1]
    assert isinstance(failed, InvalidArgumentError)
    assert [field for field, _ in failed.violations] == ["user_id", "scenario"]


def test_a_message_without_a_request_is_refused(stocked: Ranking) -> None:
    """Its id comes back."""
    stub = stocked.client.stub
    answer = next(stub.RankStream(iter([ranking_pb2.RankStreamRequest(id=7)]), timeout=100))
    assert (answer.id, answer.failure.violations[0].field) == (7, "request")


def test_answers_come_while_requests_are_still_to_come(stocked: Ranking) -> None:
    """The second request is sent only after the first one's answer."""
    answered = threading.Event()

    def requests() -> Iterator[RankRequest]:
        yield asked("ann", "i0")
        assert answered.wait(100)
        yield asked("ann", "i1")

    seen = []
    for place, _ in stocked.client.rank_stream(requests()):
        seen.append(place)
        answered.set()
    assert seen == [0, 1]


def test_a_stream_without_requests_ends(stocked: Ranking) -> None:
    """Nothing in, nothing out."""
    assert list(stocked.client.rank_stream([])) == []


def test_the_streams_deadline_ends_it(stocked: Ranking) -> None:
    """Even where the client has more to send and sends nothing."""
    release = threading.Event()

    def requests() -> Iterator[RankRequest]:
        yield asked("ann", "i0")
        release.wait(100)

    with pytest.raises(ServiceUnavailableError, match="DEADLINE_EXCEEDED"):
        list(stocked.client.rank_stream(requests(), timeout_seconds=0.3))
    release.set()
    wait_until(lambda: not stocked.streams._open)


def test_a_process_that_stops_answers_what_it_has_read_and_says_so(stocked: Ranking) -> None:
    """The client may open its stream elsewhere."""
    release = threading.Event()

    def requests() -> Iterator[RankRequest]:
        yield asked("ann", "i0")
        release.wait(100)

    stream = stocked.client.rank_stream(requests())
    assert_ranked(next(stream)[1], best_first(["i0"], USER))
    stocked.streams.drain()
    with pytest.raises(ClientError, match="stopping"):
        next(stream)
    release.set()


class TestBounds:
    """One stream over a pool, with work that waits until it is let go."""

    @pytest.fixture
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(16) as pool:
            yield pool

    def test_no_more_is_read_than_can_be_worked_on_and_taken(self, pool: ThreadPoolExecutor) -> None:
        """A place is free again when an answer was taken, not when it was ready."""
        read: list[int] = []
        requests = (read.append(number) or number for number in range(20))
        with RequestStreams(pool, at_once=4).open(requests, lambda number, _: number) as stream:
            answers = stream.answers()
            first = next(answers)
            wait_until(lambda: len(read) == 4)
            assert sorted([first, *answers]) == list(range(20))

    def test_what_is_slow_does_not_hold_up_the_rest(self, pool: ThreadPoolExecutor) -> None:
        """Answers come as they are ready."""
        release = threading.Event()

        def answer(number: int, _: float) -> int:
            if number == 0:
                release.wait(100)
            return number

        with RequestStreams(pool, at_once=4).open(iter(range(4)), answer) as stream:
            answers = stream.answers()
            early = [next(answers) for _ in range(3)]
            release.set()
            assert (sorted(early), list(answers)) == ([1, 2, 3], [0])

    def test_a_cancelled_stream_begins_nothing_more(self) -> None:
        """What waits for a thread is dropped when the caller has gone."""
        begun, release = [], threading.Event()

        def answer(number: int, _: float) -> int:
            begun.append(number)
            release.wait(100)
            return number

        with ThreadPoolExecutor(1) as pool, RequestStreams(pool, at_once=8).open(iter(range(8)), answer) as stream:
            answers = stream.answers()
            threading.Timer(0.1, lambda: (stream.cancel(), release.set())).start()
            assert list(answers) == []
        assert begun == [0]

    def test_requests_that_break_off_end_the_stream(self, pool: ThreadPoolExecutor) -> None:
        """As the transport does when a client is lost."""

        def requests() -> Iterator[int]:
            yield 1
            raise ConnectionError("lost")

        with RequestStreams(pool).open(requests(), lambda number, _: number) as stream:
            assert list(stream.answers()) in ([], [1])
