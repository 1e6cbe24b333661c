"""Sends a read once more when its answer takes long, and takes the first answer (hedged requests).

gRPC's own `hedgingPolicy` is not honoured by gRPC Python. Dean and Barroso, The Tail at Scale, CACM 2013.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc


class HedgeBudget:
    """Holds second requests to about `share` of the calls, so that they do not double the load of a slow service.

    Counts as gRPC's retry throttling does: a call earns `share` of a token, a second request costs one, and at most
    `most` are saved. Safe to share between threads.
    """

    def __init__(self, most: float = 10.0, share: float = 0.1) -> None:
        self._most, self._share, self._tokens = most, share, most
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count a call."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._share)

    def take(self) -> bool:
        """Whether a second request may be sent now, which is counted."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Hedge:
    """Sends requests by a given way; `after_seconds` without an answer sends a second one."""

    def __init__(self, after_seconds: float, budget: HedgeBudget | None = None) -> None:
        self._after, self._budget = after_seconds, budget or HedgeBudget()

    def answer(self, send: Callable[[float], grpc.Future[Any]], timeout_seconds: float) -> Any:
        """The first answer; `send(timeout)` starts a request. Raises grpc.RpcError when every request failed."""
        self._budget.earn()
        ended: queue.SimpleQueue[grpc.Future[Any]] = queue.SimpleQueue()
        requests = [_started(send(timeout_seconds), ended)]
        try:
            try:
                first = ended.get(timeout=self._after)
            except queue.Empty:
                if self._has_time(timeout_seconds) and self._budget.take():
                    requests.append(_started(send(timeout_seconds - self._after), ended))
                first = ended.get()
            if first.exception() is not None and len(requests) > 1:
                first = ended.get()
            return first.result()
        finally:
            for request in requests:
                request.cancel()

    async def answer_async(self, send: Callable[[float], Coroutine[Any, Any, Any]], timeout_seconds: float) -> Any:
        """As `answer`, on the running event loop."""
        self._budget.earn()
        requests = {asyncio.create_task(send(timeout_seconds))}
        try:
            _, pending = await asyncio.wait(requests, timeout=self._after)
            if pending and self._has_time(timeout_seconds) and self._budget.take():
                requests.add(asyncio.create_task(send(timeout_seconds - self._after)))
            return await _first_success(requests)
        finally:
            for request in requests:
                request.cancel()

    def _has_time(self, timeout_seconds: float) -> bool:
        return timeout_seconds > self._after


def _started(request: grpc.Future[Any], ended: queue.SimpleQueue[grpc.Future[Any]]) -> grpc.Future[Any]:
    request.add_done_callback(ended.put)
    return request


async def _first_success(requests: set[asyncio.Task[Any]]) -> Any:
    pending = requests
    while True:
        ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        answered = [request for request in ended if request.exception() is None]
        if answered or not pending:
            return (answered or list(ended))[0].result()
