"""Works on the requests of a stream side by side, never on more than so many, and gives answers as they are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
AT_ONCE = 32


class RequestStream(Generic[Request, Answer]):
    """One stream. A request takes one of `at_once` places from before it is read until its answer has been taken.

    So a client that sends too fast, or reads too slowly, is not read from: flow control holds it back. `answer` is
    given a request and the seconds that it waited for a thread, and must not raise.
    """

    def __init__(
        self, requests: Iterator[Request], answer: Callable[[Request, float], Answer], pool: Executor, at_once: int
    ) -> None:
        self._requests, self._answer, self._pool = requests, answer, pool
        self._places = threading.Semaphore(at_once)
        self._ready: SimpleQueue[Answer | None] = SimpleQueue()  # None: no more will come
        self._lock = threading.Lock()
        self._reading, self._cancelled, self._working = True, False, 0

    def answers(self) -> Iterator[Answer]:
        """Yield an answer for each request, in the order in which they are ready; ends with the requests."""
        threading.Thread(target=self._read, name="stream reader", daemon=True).start()
        while (answer := self._ready.get()) is not None:
            yield answer
            self._places.release()

    def cancel(self) -> None:
        """The caller has gone: begin nothing more, and yield nothing more."""
        with self._lock:
            self._reading, self._cancelled = False, True
        self._ready.put(None)
        self._places.release()  # for the reader, should it wait for a place

    def finish(self) -> None:
        """Read no more; what is worked on is answered."""
        with self._lock:
            ended, self._reading = self._reading and not self._working, False
        if ended:
            self._ready.put(None)
        self._places.release()

    def _read(self) -> None:
        try:
            while self._places.acquire() and self._reading:
                request = next(self._requests, None)
                if request is None or not self._begin():
                    break
                self._pool.submit(self._work, request, time.perf_counter())
        except Exception:  # the transport raises an error of its own where a stream is cut, the pool when it has closed
            self.cancel()
        self.finish()

    def _begin(self) -> bool:
        with self._lock:
            self._working += self._reading
            return self._reading

    def _work(self, request: Request, read_at: float) -> None:
        try:
            if not self._cancelled:
                self._ready.put(self._answer(request, time.perf_counter() - read_at))
        finally:
            self._end_work()

    def _end_work(self) -> None:
        with self._lock:
            self._working -= 1
            ended = not self._reading and not self._working
        if ended:
            self._ready.put(None)


class RequestStreams:
    """The streams of a process: they share a pool, and end when the process drains."""

    def __init__(self, pool: Executor, at_once: int = AT_ONCE) -> None:
        self._pool, self._at_once = pool, at_once
        self._open: set[RequestStream[Any, Any]] = set()
        self.draining = False

    @contextmanager
    def open(
        self, requests: Iterator[Request], answer: Callable[[Request, float], Answer]
    ) -> Iterator[RequestStream[Request, Answer]]:
        """A stream that lasts as long as the context; one opened while the process drains ends at once."""
        stream = RequestStream(requests, answer, self._pool, self._at_once)
        self._open.add(stream)
        if self.draining:
            stream.finish()
        try:
            yield stream
        finally:
            self._open.discard(stream)
            stream.cancel()

    def drain(self) -> None:
        """Read no more from any stream, and let each answer what it works on."""
        self.draining = True
        for stream in list(self._open):
            stream.finish()
