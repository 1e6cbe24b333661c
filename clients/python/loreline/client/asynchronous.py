"""Clients whose methods are awaited, on grpc.aio."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loreline.client.calls import Call, Result, StreamCall, check_size, method_signature
from loreline.client.channel import ClientOptions, channel_arguments
from loreline.client.errors import client_errors
from loreline.client.hedging import Hedge

P = ParamSpec("P")


class AsyncClient:
    """One service's client on one event loop: its connections, opened by the first call, and a deadline for every call.

    Use it with `async with`, or close it. A task that is cancelled cancels its call.
    """

    def __init__(
        self, stub: Callable[[Any], Any], address: str, timeout_seconds: float, options: ClientOptions | None
    ) -> None:
        self.address, self.timeout_seconds, chosen = address, timeout_seconds, options or ClientOptions()
        self._connections = _Connections(stub, address, chosen)
        self._hedge = Hedge(chosen.hedge_after_seconds) if chosen.hedge_after_seconds else None

    def with_timeout(self, timeout_seconds: float) -> Self:
        """The same client with another deadline, on its connections: `await client.with_timeout(0.2).rank(...)`."""
        other = copy.copy(self)
        other.timeout_seconds = timeout_seconds
        return other

    @property
    def stub(self) -> Any:
        """GRPC's own stub on the next connection, for what the methods do not give, such as metadata."""
        return self._connections.next_stub()

    async def is_serving(self, service: str = "readiness", timeout_seconds: float = 1.0) -> bool:
        """Whether the process says SERVING for a health service name; False also when it does not answer in time."""
        health = health_pb2_grpc.HealthStub(self._connections.opened()[0])
        try:
            response = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_seconds)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the connections; running calls end with CANCELLED."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, call: Call[Result]) -> Result:
        check_size(call.request)

        async def send(timeout: float) -> Any:
            return await getattr(self.stub, call.method)(call.request, timeout=timeout)

        with client_errors():
            if self._hedge and call.is_read:
                response = await self._hedge.answer_async(send, self.timeout_seconds)
            else:
                response = await send(self.timeout_seconds)
        return call.read(response)

    async def _answers(self, call: StreamCall[Result]) -> AsyncIterator[Result]:
        check_size(call.request)
        timeout = None if call.endless else self.timeout_seconds
        with client_errors():
            responses = getattr(self.stub, call.method)(call.request, timeout=timeout)
            try:
                async for response in responses:
                    yield call.read(response)
            finally:
                responses.cancel()


class _Connections:
    """Channels that are opened when the first is needed: grpc.aio binds them to the event loop that then runs."""

    def __init__(self, stub: Callable[[Any], Any], address: str, options: ClientOptions) -> None:
        self._stub, self._address, self._options = stub, address, options
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: Iterator[Any] | None = None

    def next_stub(self) -> Any:
        """The stub whose turn it is."""
        self._stubs = self._stubs or itertools.cycle([self._stub(channel) for channel in self.opened()])
        return next(self._stubs)

    def opened(self) -> list[grpc.aio.Channel]:
        """All channels."""
        if not self._channels:
            arguments = channel_arguments(self._options)
            count = self._options.connections
            self._channels = [grpc.aio.insecure_channel(self._address, arguments) for _ in range(count)]
        return self._channels

    async def close(self) -> None:
        """Close the channels, if there are any."""
        for channel in self._channels:
            await channel.close()


def awaited(build: Callable[P, Call[Result]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Result]]:
    """The method of a client that makes the call which `build` describes. Raises ClientError."""

    @functools.wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self._answer(build(*args, **kwargs))

    method.__signature__ = method_signature(build)  # type: ignore[attr-defined]
    return method


def awaited_stream(
    build: Callable[P, StreamCall[Result]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Result]]:
    """The same for a stream: an asynchronous generator; closing it ends the call."""

    @functools.wraps(build)
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Result]:
        return self._answers(build(*args, **kwargs))

    method.__signature__ = method_signature(build, "AsyncIterator[{}]")  # type: ignore[attr-defined]
    return method
