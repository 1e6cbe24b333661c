"""Channels with the options and the service config that every client of ours shares.

`service_config.json` is read by clients in other languages too. It retries calls that may be repeated, with backoff,
jitter (gRPC's own) and a budget, and spreads calls over all addresses of a name. It does not retry streams, since one
whose server stops before its first answer would never be told of it, nor ElicitFactors, which pays a language model
each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loreline.client.calls import MOST_REQUEST_BYTES

MEBIBYTE = 1024 * 1024
SERVICE_CONFIG = (resources.files("loreline.client") / "service_config.json").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ClientOptions:
    """How a client connects.

    `connections` are opened to each address and used in turn; several reach several processes behind one port. While a
    call runs, a peer that does not answer a ping every `keepalive_seconds` is given up. A read that has no answer after
    `hedge_after_seconds` is sent once more, on the next connection, and the first answer counts; None sends none twice.
    Raises ValueError for what is out of range.
    """

    connections: int = 1
    keepalive_seconds: float = 20.0
    hedge_after_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ValueError(f"connections: must be at least 1, is {self.connections}")
        if self.keepalive_seconds <= 0:
            raise ValueError(f"keepalive_seconds: must be more than 0, is {self.keepalive_seconds}")
        if self.hedge_after_seconds is not None and self.hedge_after_seconds <= 0:
            raise ValueError(f"hedge_after_seconds: must be more than 0 or None, is {self.hedge_after_seconds}")


def channel_arguments(options: ClientOptions) -> list[tuple[str, str | int]]:
    """GRPC's channel arguments. Opening a channel with them does not connect: the first call does."""
    return [
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.max_receive_message_length", 64 * MEBIBYTE),
        ("grpc.max_send_message_length", MOST_REQUEST_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),  # before a call's retries are used up
        ("grpc.max_reconnect_backoff_ms", 1000),  # a service that comes back is found again within a second
        ("grpc.keepalive_time_ms", int(options.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(options.keepalive_seconds * 1000)),
        ("grpc.http2.ping_timeout_ms", int(options.keepalive_seconds * 1000)),  # without it a ping may take a minute
        ("grpc.http2.max_pings_without_data", 0),  # 0: no limit, for streams on which nothing comes for long
        ("grpc.use_local_subchannel_pool", int(options.connections > 1)),  # otherwise channels share a connection
    ]


def is_serving(address: str, service: str = "readiness", timeout_seconds: float = 1.0) -> bool:
    """Whether the process at `address` says SERVING for a health service name; False also when nothing answers."""
    with grpc.insecure_channel(address) as channel:
        return says_serving(channel, service, timeout_seconds)


def says_serving(channel: grpc.Channel, service: str, timeout_seconds: float) -> bool:
    """The same over a channel that stays open: a connection for each question costs more than the question."""
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
    except grpc.RpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
