"""How clients connect: deadlines, several connections and addresses, peers that are gone, errors with their details."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ranking_stub import RankingStub, serve

from loreline.client import (
    ClientOptions,
    DeadlineExceededError,
    InvalidArgumentError,
    KnowledgeClient,
    OverloadedError,
    RankingClient,
    ServiceUnavailableError,
    is_serving,
)
from loreline.domain import Item
from services.cli.local_processes import free_port
from services.runtime.errors import InvalidRequest, Overloaded
from tests.waiting import wait_until

SAMPLE = Path(__file__).parents[1] / "runtime" / "sample_process.py"


def refuse(error: Exception) -> Callable[[int], None]:
    """What makes every call end with the error."""

    def before(_number: int) -> None:
        raise error

    return before


def test_every_call_has_a_deadline() -> None:
    """The client's, without saying anything."""
    release = threading.Event()
    with serve(RankingStub(before=lambda _: release.wait(100))) as address:
        with RankingClient(address, timeout_seconds=0.2) as client, pytest.raises(DeadlineExceededError):
            client.rank("1", "movies", ["1"])
        release.set()


def test_one_call_may_have_another_deadline() -> None:
    """The client itself keeps its own, and the connection is the same."""
    servicer = RankingStub(before=lambda number: time.sleep(0.3) if number == 1 else None)
    with serve(servicer) as address, RankingClient(address, timeout_seconds=100) as client:
        with pytest.raises(DeadlineExceededError):
            client.with_timeout(0.1).rank("1", "movies", ["1"])
        assert client.timeout_seconds == 100
        assert client.rank("1", "movies", ["1"]).item_ids == ["1"]
    assert len(servicer.peers) == 1


def test_an_overloaded_service_says_when_to_come_again() -> None:
    """From google.rpc.RetryInfo; the call is not repeated by the client."""
    servicer = RankingStub(before=refuse(Overloaded("too many wait", retry_after_seconds=2.5)))
    told = pytest.raises(OverloadedError, match="too many wait")
    with serve(servicer) as address, RankingClient(address) as client, told as failed:
        client.rank("1", "movies", ["1"])
    assert (failed.value.code, failed.value.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert failed.value.retry_after_seconds == 2.5
    assert servicer.calls == 1


def test_a_refused_request_names_its_fields() -> None:
    """From google.rpc.BadRequest; there is no use in coming again."""
    servicer = RankingStub(before=refuse(InvalidRequest([("top_k", "must be less"), ("user_id", "must be given")])))
    with serve(servicer) as address, RankingClient(address) as client, pytest.raises(InvalidArgumentError) as told:
        client.rank("1", "movies", ["1"])
    assert told.value.violations == [("top_k", "must be less"), ("user_id", "must be given")]
    assert told.value.retry_after_seconds is None


def test_connections_are_used_in_turn() -> None:
    """Each is one of its own at the server, so that several processes behind one port are reached."""
    servicer = RankingStub()
    with serve(servicer) as address, RankingClient(address, options=ClientOptions(connections=3)) as client:
        for _ in range(6):
            client.rank("1", "movies", ["1"])
    assert len(servicer.peers) == 3


def test_calls_go_to_every_address_of_a_name_and_around_one_that_is_gone() -> None:
    """Round robin, as over the addresses that DNS gives for a name."""
    with serve(RankingStub("b")) as other:
        with serve(RankingStub("a")) as one, RankingClient(f"ipv4:{one},{other}", timeout_seconds=100) as client:
            wait_until(lambda: served_by(client) == {"a", "b"})
            client.close()
        with RankingClient(f"ipv4:{one},{other}", timeout_seconds=100) as client:
            assert served_by(client) == {"b"}


def served_by(client: RankingClient) -> set[str]:
    """Who answers ten calls."""
    return {client.rank("1", "movies", ["1"]).model_version for _ in range(10)}


def test_a_stream_from_a_peer_that_went_silent_ends() -> None:
    """A stopped process closes no connection; only the missing answer to a ping tells."""
    address, options = f"127.0.0.1:{free_port(0)}", ClientOptions(keepalive_seconds=1)
    with silenced_later(address) as silence, KnowledgeClient(address, timeout_seconds=60, options=options) as client:
        answers = client.generate_for_items("movies", [Item("1", "movies", "Night Train")])
        assert next(answers).subject_id == "first"
        silence()
        with pytest.raises(ServiceUnavailableError, match="ping timeout"):
            next(answers)


@contextmanager
def silenced_later(address: str) -> Iterator[Callable[[], None]]:
    """A process that serves, and what stops it as it is."""
    with subprocess.Popen([sys.executable, str(SAMPLE), address], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_serving(address))
            yield lambda: os.kill(process.pid, signal.SIGSTOP)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"connections": 0}, "connections"),
        ({"keepalive_seconds": 0}, "keepalive"),
        ({"hedge_after_seconds": 0}, "hedge"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, int], named: str) -> None:
    """With the option's name."""
    with pytest.raises(ValueError, match=named):
        ClientOptions(**given)
