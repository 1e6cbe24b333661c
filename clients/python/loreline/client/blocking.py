"""Clients whose methods return when the answer has come."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

import grpc

from loreline.client.calls import Call, Result, StreamCall, check_size, method_signature
from loreline.client.channel import ClientOptions, channel_arguments, says_serving
from loreline.client.errors import client_errors
from loreline.client.hedging import Hedge

P = ParamSpec("P")


class Client:
    """One service's client: its connections and a deadline for every call. Safe to share between threads."""

    def __init__(
        self, stub: Callable[[grpc.Channel], Any], address: str, timeout_seconds: float, options: ClientOptions | None
    ) -> None:
        self.address, self.timeout_seconds, chosen = address, timeout_seconds, options or ClientOptions()
        arguments = channel_arguments(chosen)
        self._channels = [grpc.insecure_channel(address, arguments) for _ in range(chosen.connections)]
        self._stubs = itertools.cycle([stub(channel) for channel in self._channels])
        self._hedge = Hedge(chosen.hedge_after_seconds) if chosen.hedge_after_seconds else None

    def with_timeout(self, timeout_seconds: float) -> Self:
        """The same client with another deadline, on its connections: `client.with_timeout(0.2).rank(...)`."""
        other = copy.copy(self)
        other.timeout_seconds = timeout_seconds
        return other

    @property
    def stub(self) -> Any:
        """GRPC's own stub on the next connection, for what the methods do not give, such as metadata."""
        return next(self._stubs)

    def is_serving(self, service: str = "readiness", timeout_seconds: float = 1.0) -> bool:
        """Whether the process says SERVING for a health service name; False also when it does not answer in time."""
        return says_serving(self._channels[0], service, timeout_seconds)

    def close(self) -> None:
        """Close the connections; running calls end with CANCELLED."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, call: Call[Result]) -> Result:
        check_size(call.request)
        with client_errors():
            if self._hedge and call.is_read:
                response = self._hedge.answer(lambda timeout: self._send(call, timeout), self.timeout_seconds)
            else:
                response = getattr(self.stub, call.method)(call.request, timeout=self.timeout_seconds)
        return call.read(response)

    def _send(self, call: Call[Result], timeout_seconds: float) -> grpc.Future[Any]:
        sent: grpc.Future[Any] = getattr(self.stub, call.method).future(call.request, timeout=timeout_seconds)
        return sent

    def _answers(self, call: StreamCall[Result]) -> Iterator[Result]:
        check_size(call.request)
        timeout = None if call.endless else self.timeout_seconds
        with client_errors():
            responses = getattr(self.stub, call.method)(call.request, timeout=timeout)
            try:
                for response in responses:
                    yield call.read(response)
            finally:
                responses.cancel()


def blocking(build: Callable[P, Call[Result]]) -> Callable[Concatenate[Client, P], Result]:
    """The method of a client that makes the call which `build` describes. Raises ClientError."""

    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._answer(build(*args, **kwargs))

    method.__signature__ = method_signature(build)  # type: ignore[attr-defined]
    return method


def blocking_stream(build: Callable[P, StreamCall[Result]]) -> Callable[Concatenate[Client, P], Iterator[Result]]:
    """The same for a stream: a generator that yields the answers as they come; closing it ends the call."""

    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Result]:
        return self._answers(build(*args, **kwargs))

    method.__signature__ = method_signature(build, "Iterator[{}]")  # type: ignore[attr-defined]
    return method
