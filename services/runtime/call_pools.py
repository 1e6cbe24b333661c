"""Which threads handle a call: streams never hold up calls of one answer, and neither holds up health checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from grpc_status import rpc_status

from services.runtime.error_interceptor import to_status
from services.runtime.errors import Overloaded

Handler = Any  # grpc's own stubs and its runtime disagree on the type's parameters
HEALTH_PREFIX = "/grpc.health."
HEALTH_THREADS = 2
REFUSED_RETRY_SECONDS = 1.0


class CallPool(ThreadPoolExecutor):
    """Threads for calls of one sort, `most_calls` of which may run or wait at a time."""

    def __init__(self, sort: str, threads: int, most_calls: int) -> None:
        super().__init__(threads, thread_name_prefix=sort)
        self.sort, self.most_calls = sort, most_calls
        self._held, self._lock = 0, threading.Lock()

    def has_room(self) -> bool:
        """Whether one call more may come."""
        return self._held < self.most_calls

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See Executor."""
        self._count(1)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, change: int) -> None:
        with self._lock:
            self._held += change


class PoolInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Gives calls of one answer, streams, and health checks threads of their own.

    A call or stream for which there is no room ends with RESOURCE_EXHAUSTED at once; health checks always have it.
    Must be the outermost interceptor: gRPC looks at the outermost function for the pool.
    """

    def __init__(self, calls: CallPool, streams: CallPool) -> None:
        self._calls, self._streams = calls, streams
        self._health = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="health check")
        self._refusals = ThreadPoolExecutor(1, thread_name_prefix="refusal")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: Any
    ) -> Handler | None:
        """Choose the threads of the method; returns None for a method that does not exist."""
        handler = continuation(details)
        if handler is None:
            return None
        if details.method.startswith(HEALTH_PREFIX):
            return _handled(handler, lambda behaviour: _in_pool(behaviour, self._health))
        pool = self._streams if handler.response_streaming else self._calls
        if pool.has_room():
            return _handled(handler, lambda behaviour: _in_pool(behaviour, pool))
        return _handled(handler, lambda _: _in_pool(_refusal(pool, details.method), self._refusals))


def _handled(handler: Handler, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Handler:
    """The handler with another function for its method."""
    coders = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(by(handler.stream_stream), **coders)
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(by(handler.unary_stream), **coders)
    return grpc.unary_unary_rpc_method_handler(by(handler.unary_unary), **coders)


def _in_pool(behaviour: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    """The function, marked as gRPC wants it; one that answers through a callback still does."""

    def call(*arguments: Any) -> Any:
        return behaviour(*arguments)

    call.experimental_thread_pool = pool  # type: ignore[attr-defined]
    call.experimental_non_blocking = getattr(behaviour, "experimental_non_blocking", False)  # type: ignore[attr-defined]
    return call


def _refusal(pool: CallPool, method: str) -> Callable[..., Any]:
    error = Overloaded(f"this process holds {pool.most_calls} {pool.sort} already", REFUSED_RETRY_SECONDS)

    def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.abort_with_status(rpc_status.to_status(to_status(error, method)))
        raise AssertionError("abort_with_status always raises")

    return refuse
