"""Connections to servers that handle bytes and decode nothing, for benchmarks.load_generator."""

from __future__ import annotations

import http.client
import urllib.parse
from typing import Any, Protocol

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

METHOD = "/loreline.ranking.v1.RankingService/"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


class Connection(Protocol):
    """One client's way to a server."""

    def call(self, request: bytes, timeout_seconds: float) -> bytes:
        """The answer. Raises Refused, or another exception whose class or status says what failed."""


class Refused(Exception):
    """The call was not answered; `seconds` is when to come back."""

    def __init__(self, outcome: str, seconds: float) -> None:
        super().__init__(outcome)
        self.outcome, self.seconds = outcome, seconds


class GrpcConnection:
    """A channel with a connection of its own."""

    def __init__(self, address: str, method: str) -> None:
        self.method = grpc.insecure_channel(address, options=OPTIONS).unary_unary(METHOD + method)

    def call(self, request: bytes, timeout_seconds: float) -> bytes:
        """See Connection."""
        try:
            answer: bytes = self.method(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            raise Refused(error.code().name, retry_seconds(error)) from error
        return answer


class HttpConnection:
    """A connection that is kept open, and made anew when the server has closed it meanwhile."""

    def __init__(self, address: str, path: str) -> None:
        self._address, self._path = address, path
        self._connection = http.client.HTTPConnection(address)

    def call(self, request: bytes, timeout_seconds: float) -> bytes:
        """See Connection."""
        try:
            return self._post(request, timeout_seconds)
        except (ConnectionError, http.client.HTTPException):
            self._connection.close()
            return self._post(request, timeout_seconds)

    def _post(self, request: bytes, timeout_seconds: float) -> bytes:
        self._connection.timeout = timeout_seconds
        try:
            self._connection.request("POST", self._path, request, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            self._connection.close()
            raise Refused("DEADLINE_EXCEEDED", 0.0) from error
        if response.status != 200:
            raise Refused(f"HTTP {response.status}", 0.1)
        return answer


def retry_seconds(error: Any) -> float:
    """When RetryInfo of a refusal says to come back; 0.1 without it."""
    status, told = rpc_status.from_call(error), error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        if detail.Unpack(told):
            return float(told.retry_delay.ToTimedelta().total_seconds())
    return 0.1


def connect(target: str) -> Connection:
    """A connection to grpc://host:port/Method or http://host:port/path."""
    parts = urllib.parse.urlsplit(target)
    if parts.scheme == "http":
        return HttpConnection(parts.netloc, parts.path)
    return GrpcConnection(parts.netloc, parts.path.strip("/"))
