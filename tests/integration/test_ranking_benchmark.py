"""benchmarks/ranking.py runs from end to end on tiny numbers, and its load generator counts right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import ranking_measures
from benchmarks.load_driver import LoadGenerator, load_generator
from benchmarks.load_generator import Load, write_requests
from benchmarks.plain_server import serving
from benchmarks.ranking_measures import HOP, Latency
from services.cli.local_processes import free_port

ROOT = Path(__file__).resolve().parents[2]
LINES = (
    "| floor: network at peak, one gRPC hop, lookups |",
    "| Loreline, Triton, shared memory |",
    "| Feast to_dict + Triton |",
    "in-process against the floor",
    "knowledge on against off",
    "2 processes on 2 cores against 1 process on 1 core",
    "| 400% of the capacity |",
    "| vectors of 2 model version(s) |",
    "| search of the 100 nearest, one query |",
    "| Recommend(20), 8 client(s) |",
)


@dataclass
class Echo:
    """A server that answers with the request's bytes, and fails on `bad`; `load` names it and its requests."""

    target: str
    requests: str
    calls: int = 0

    def answer(self, request: bytes) -> bytes:
        self.calls += 1
        if request == b"bad":
            raise ValueError("bad")
        return request

    def load(self, **fields: float) -> Load:
        return Load(self.target, self.requests, **fields)


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    with load_generator() as generator:
        yield generator


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    address = f"127.0.0.1:{free_port(0)}"
    found = Echo(f"grpc://{address}/Rank", write_requests(tmp_path / "requests", [b"good", b"bad"]))
    server = serving(found.answer, address)
    yield found
    server.stop(None).wait()


class TestLoadGenerator:
    """What it says happened did happen at the server."""

    def test_clients_that_wait_make_so_many_calls_each(self, generator: LoadGenerator, echo: Echo) -> None:
        """Warm ones are made, and not counted; only answers have a time."""
        result = generator.run(echo.load(clients=3, calls=4, warm=2))
        assert echo.calls == 3 * (4 + 2)
        assert result.outcomes == {"OK": 6, "UNKNOWN": 6}
        assert len(result.milliseconds) == 6
        assert result.answer == b"good"
        assert result.share("UNKNOWN") == 0.5

    def test_an_open_load_makes_all_its_calls_whatever_becomes_of_them(
        self, generator: LoadGenerator, echo: Echo
    ) -> None:
        """So many a second for so long."""
        result = generator.run(echo.load(rate=100, seconds=0.4, timeout_seconds=100))
        assert echo.calls == result.calls == 40
        assert result.outcomes == {"OK": 20, "UNKNOWN": 20}

    def test_a_server_that_is_not_there_is_an_outcome(self, generator: LoadGenerator, tmp_path: Path) -> None:
        """Not an answer, and no crash."""
        requests = write_requests(tmp_path / "requests", [b"good"])
        result = generator.run(Load(f"grpc://127.0.0.1:{free_port(0)}/Rank", requests, calls=1))
        assert result.outcomes == {"UNAVAILABLE": 1}


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is slow in one round is slow for both; the floor is the sum of its parts."""
    found = Latency(peak=[1e9, 0.5e9], flops={200: 1e6})
    found.p50 |= {("ours", 200): [6.0, 12.0], (HOP, 200): [1.5, 3.0]}
    found.lookups[200] = [0.5, 1.0]
    assert found.floors(200) == [3.0, 6.0]
    assert ranking_measures.ratios(found, "ours", "floor", 200) == [2.0, 2.0]
    assert ranking_measures.ratios(found, "ours", HOP, 200) == [4.0, 4.0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_benchmark_measures_everything_in_one_run() -> None:
    """But the hosted peers, whose environments take a minute each to install, and numbers of clients."""
    command = [sys.executable, "-m", "benchmarks.ranking", "--quick", "--peers", "plain"]
    parts = ["latency", "processes", "overload", "memory", "recommend"]
    done = subprocess.run(
        [*command, "--parts", *parts], cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in LINES:
        assert line in done.stdout


def test_a_wrong_part_is_refused_with_exit_code_2() -> None:
    """The message names those that there are."""
    command = [sys.executable, "-m", "benchmarks.ranking", "--parts", "latencies"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert "'latencies'" in done.stderr
    assert "overload" in done.stderr
