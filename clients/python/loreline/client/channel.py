"""Channels with the retry policy that every client of ours shares: for calls, not for streams."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

MEBIBYTE = 1024 * 1024
STREAMS = {
    "loreline.features.v1.FeaturesService": ["ListKnowledge", "Watch"],
    "loreline.knowledge.v1.KnowledgeService": [
        "GenerateItemKnowledge",
        "GenerateUserKnowledge",
        "GenerateClusterKnowledge",
    ],
}
SERVICE_CONFIG = {
    "methodConfig": [
        # no retries inside gRPC: a stream whose server stops before its first answer would never be told of it
        {"name": [{"service": service, "method": method} for service in STREAMS for method in STREAMS[service]]},
        {
            "name": [{}],
            "retryPolicy": {  # gRPC adds the jitter
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
    ]
}


def open_channel(address: str) -> grpc.Channel:
    """A channel to `address` (host:port). Opening does not connect: the first call does."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ("grpc.max_receive_message_length", 64 * MEBIBYTE),
            ("grpc.max_send_message_length", 16 * MEBIBYTE),
            ("grpc.max_reconnect_backoff_ms", 1000),  # a service that comes back is found again within a second
        ],
    )


def is_serving(address: str, service: str = "readiness", timeout_seconds: float = 1.0) -> bool:
    """Whether the process at `address` says SERVING for a health service name; False also when nothing answers."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


class Client:
    """One service's client: a channel and a default deadline. Safe to share between threads."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self.address, self.timeout_seconds = address, timeout_seconds
        self._channel = open_channel(address)

    def close(self) -> None:
        """Close the channel; running calls end with CANCELLED."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
