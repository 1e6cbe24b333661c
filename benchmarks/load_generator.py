"""Loads a server from a process of its own: bytes in, bytes out, nothing decoded, so that it takes little of the cores.

Reads one JSON command a line from standard input, and writes what it measured as one JSON line: see `Load`.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.load_connections import Connection, Refused, connect

CHANNELS = 16  # connections of an open load


@dataclass(frozen=True)
class Load:
    """What to do: so many calls of each of `clients`, or as many as fit into `seconds`; with a `rate`, open-loop.

    `requests` is a file that `write_requests` wrote. Clients that are refused wait as long as they are told.
    """

    target: str  # grpc://host:port/Method or http://host:port/path
    requests: str
    clients: int = 1
    calls: int = 0
    seconds: float = 0.0
    warm: int = 0  # calls before the measured ones, of each client
    rate: float = 0.0  # calls a second, at random moments, whatever becomes of them
    timeout_seconds: float = 10.0


@dataclass
class Measured:
    """Milliseconds of the calls that were answered, outcomes of all, and the processor time of this process.

    `late_ms` is by how much an open load's calls were begun too late, the 99th percentile.
    """

    milliseconds: list[float] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    late_ms: float = 0.0
    last: str = ""  # the last answer, base64

    def answered(self, milliseconds: float, answer: bytes) -> None:
        """One call went well."""
        self.count("OK")
        self.milliseconds.append(milliseconds)
        self._answer = answer

    def count(self, outcome: str, times: int = 1) -> None:
        """Calls ended so."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + times

    def finish(self, began: float, cpu: float) -> None:
        """Note what came since a moment and a processor time."""
        self.seconds, self.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        self.last = base64.b64encode(getattr(self, "_answer", b"")).decode()


def write_requests(path: Path, requests: list[bytes]) -> str:
    """Keep encoded requests for a Load; each client goes through them from a place of its own."""
    path.write_text(json.dumps([base64.b64encode(request).decode() for request in requests]))
    return str(path)


@cache
def _requests(path: str) -> list[bytes]:
    return [base64.b64decode(text) for text in json.loads(Path(path).read_text())]


@cache
def _connection(target: str, _number: int) -> Connection:
    """Kept from load to load, one for each number."""
    return connect(target)


def closed(load: Load) -> Measured:
    """Clients that each wait for an answer before they ask again."""
    clients = [_Client(load, number) for number in range(load.clients)]
    _together([client.warm for client in clients])
    began, cpu = time.perf_counter(), time.process_time()
    _together([client.run for client in clients])
    measured = Measured()
    for client in clients:
        measured.milliseconds += client.measured.milliseconds
        for outcome, times in client.measured.outcomes.items():
            measured.count(outcome, times)
    measured.finish(began, cpu)
    measured.last = clients[0].measured.last
    return measured


def _together(tasks: list[Any]) -> None:
    threads = [threading.Thread(target=task) for task in tasks[1:]]
    for thread in threads:
        thread.start()
    tasks[0]()
    for thread in threads:
        thread.join()


class _Client:
    def __init__(self, load: Load, number: int) -> None:
        self._load, self._next = load, number * 7
        self._connection, self.measured = _connection(load.target, number), Measured()

    def warm(self) -> None:
        for _ in range(self._load.warm):
            self._call()
        self.measured = Measured()

    def run(self) -> None:
        began, calls = time.perf_counter(), 0
        while calls < self._load.calls or time.perf_counter() - began < self._load.seconds:
            self._call()
            calls += 1
        self.measured.finish(began, time.process_time())

    def _call(self) -> None:
        requests = _requests(self._load.requests)
        self._next += 1
        began = time.perf_counter()
        try:
            answer = self._connection.call(requests[self._next % len(requests)], self._load.timeout_seconds)
            self.measured.answered((time.perf_counter() - began) * 1000, answer)
        except Refused as refused:
            self.measured.count(refused.outcome)
            time.sleep(refused.seconds)


def opened(load: Load) -> Measured:
    """Calls at random moments, so many a second; each one's time runs from when it was due."""
    requests, measured, lock = _requests(load.requests), Measured(), threading.Lock()
    methods = [_connection(load.target, number).method for number in range(CHANNELS)]  # type: ignore[attr-defined]
    gaps = np.random.default_rng(0).exponential(1 / load.rate, round(load.rate * load.seconds))
    begun, late = [], []

    def done(call: Any, due: float) -> None:
        now = time.perf_counter()
        with lock:
            if call.code() is grpc.StatusCode.OK:
                measured.answered((now - due) * 1000, call.result())
            else:
                measured.count(call.code().name)

    began, cpu = time.perf_counter(), time.process_time()
    for number, due in enumerate(began + np.cumsum(gaps)):
        if (pause := due - time.perf_counter()) > 0:
            time.sleep(pause)
        late.append(time.perf_counter() - due)
        call = methods[number % CHANNELS].future(requests[number % len(requests)], timeout=load.timeout_seconds)
        call.add_done_callback(lambda call, due=due: done(call, due))
        begun.append(call)  # a future that nobody holds is cancelled
    _wait_for(begun, measured, load.timeout_seconds)
    measured.finish(began, cpu)
    measured.late_ms = float(np.percentile(late, 99)) * 1000
    return measured


def _wait_for(calls: list[Any], measured: Measured, seconds: float) -> None:
    end = time.perf_counter() + 2 * seconds
    while sum(measured.outcomes.values()) < len(calls) and time.perf_counter() < end:
        time.sleep(0.01)


def main() -> None:
    """Answer commands until standard input ends."""
    for line in sys.stdin:
        load = Load(**json.loads(line))
        print(json.dumps(asdict(opened(load) if load.rate else closed(load))), flush=True)


if __name__ == "__main__":
    main()
