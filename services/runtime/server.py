"""The life of a gRPC process: start, serve, drain on SIGTERM or SIGINT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime.admission import Admission
from services.runtime.admission_interceptor import AdmissionInterceptor
from services.runtime.call_pools import CallPool, PoolInterceptor
from services.runtime.error_interceptor import ErrorInterceptor
from services.runtime.health import Check, HealthMonitor
from services.runtime.process_settings import refuse_to_start
from services.runtime.stop_signal import StopSignal
from services.runtime.worker import tell_serving

log = structlog.get_logger(__name__)
MEBIBYTE = 1024 * 1024
SHORTEST_PING_INTERVAL_MS = 500  # clients may ask so often whether we are there; gRPC's own limit is five minutes


@dataclass(frozen=True)
class ServerOptions:
    """How a process serves. Calls of one answer have `workers` threads, and `max_concurrent_calls` of them may run or
    wait; each stream has a thread, and there are at most `max_streams`. More end with RESOURCE_EXHAUSTED. Health checks
    have threads of their own, and are answered whatever the others do.

    With `processes` more than 1 the address is shared with other processes of the service, and connections are told to
    move on after `connection_age_seconds`, so that a process which was started again gets its share. All other numbers
    are for one process. A peer with running calls that answers no ping for `keepalive_seconds` is given up.

    With an `admission` the calls of one answer take their turn in it. Each that waits holds a worker: have as many as
    `max_concurrent_calls` then.
    """

    listen_address: str
    workers: int = 16
    max_concurrent_calls: int = 64
    max_streams: int = 64
    max_message_mebibytes: int = 16
    drain_seconds: float = 10.0
    processes: int = 1
    connection_age_seconds: float = 300.0
    keepalive_seconds: float = 30.0
    admission: Admission | None = None


@dataclass(frozen=True)
class Service:
    """One gRPC service: its full name, and a function that adds its servicer to a server."""

    name: str
    add_to: Callable[[grpc.Server], None]


@dataclass(frozen=True)
class RunningServer:
    """A server that serves at `address`: the one asked for, with the port that was given where it asked for port 0."""

    server: grpc.Server
    address: str

    def stop(self, grace_seconds: float) -> threading.Event:
        """Take no more calls, and give the running ones so long; the event is set when all have ended."""
        return self.server.stop(grace_seconds)  # type: ignore[no-any-return]


def serve(
    options: ServerOptions,
    services: Sequence[Service],
    checks: Mapping[str, Check],
    close: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain: NOT_SERVING, `stopping()`, finish running calls, `close()`, return.

    `stopping` ends what would go on for ever, such as streams of changes.

    Exits with code 2 when the address cannot be bound. Must run in the main thread.
    """
    stop = StopSignal()
    health = HealthMonitor(checks, [service.name for service in services])
    try:
        server = start_server(options, services, health)
    except RuntimeError as error:
        close()
        refuse_to_start(str(error))
    stop.wait()
    log.info("draining", seconds=options.drain_seconds)
    health.stop()
    stopping()
    server.stop(options.drain_seconds).wait()
    close()
    log.info("stopped")


def start_server(options: ServerOptions, services: Sequence[Service], health: HealthMonitor) -> RunningServer:
    """Bind, add services, health and reflection, and start. Raises RuntimeError when the address cannot be bound."""
    calls = CallPool("calls", options.workers, options.max_concurrent_calls)
    server = grpc.server(calls, interceptors=_interceptors(options, services, calls), options=_channel_options(options))
    for service in services:
        service.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, "grpc.health.v1.Health", reflection.SERVICE_NAME], server)
    port = server.add_insecure_port(options.listen_address)
    if port == 0:
        raise RuntimeError(f"cannot listen on {options.listen_address}: the port is taken or not ours to use")
    health.start()
    server.start()
    tell_serving()
    address = f"{options.listen_address.rpartition(':')[0]}:{port}"
    log.info("serving", address=address, services=names)
    return RunningServer(server, address)


def _channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    shared = options.processes > 1
    return [
        ("grpc.max_receive_message_length", options.max_message_mebibytes * MEBIBYTE),
        ("grpc.max_send_message_length", options.max_message_mebibytes * MEBIBYTE),
        ("grpc.so_reuseport", int(shared)),
        # what waits before Python sees it: beyond this, calls are dropped rather than left to grow old in the queue
        ("grpc.server.max_pending_requests", options.max_concurrent_calls + options.max_streams),
        ("grpc.server.max_pending_requests_hard_limit", 2 * (options.max_concurrent_calls + options.max_streams)),
        *([("grpc.max_connection_age_ms", int(options.connection_age_seconds * 1000))] if shared else []),
        # a peer that is gone without a word is noticed: its streams would hold a worker each
        ("grpc.keepalive_time_ms", int(options.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(options.keepalive_seconds * 1000)),
        ("grpc.http2.ping_timeout_ms", int(options.keepalive_seconds * 1000)),  # without it a ping may take a minute
        ("grpc.http2.min_ping_interval_without_data_ms", SHORTEST_PING_INTERVAL_MS),
    ]


def _interceptors(options: ServerOptions, services: Sequence[Service], calls: CallPool) -> list[grpc.ServerInterceptor]:
    """The first one is the outermost."""
    streams = CallPool("streams", options.max_streams, options.max_streams)
    always: list[grpc.ServerInterceptor] = [PoolInterceptor(calls, streams), ErrorInterceptor()]
    if options.admission is None:
        return always
    return [*always, AdmissionInterceptor(options.admission, [service.name for service in services])]
