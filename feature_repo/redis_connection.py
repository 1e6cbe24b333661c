"""The connection to Redis in Feast's words, for all who read or write there; needs redis-py alone, not Feast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

PARAMETERS: dict[str, Callable[[str], Any]] = {
    "db": int,
    "username": str,
    "password": str,
    "ssl": lambda text: {"true": True, "false": False}[text.lower()],
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": str,
    "socket_timeout": float,
    "socket_connect_timeout": float,
}


def redis_client(connection: str, timeout_seconds: float) -> redis.Redis:
    """A client of one server for `host:port,name=value,...`. Raises ValueError. Does not connect yet.

    An answer has `timeout_seconds` unless the connection says `socket_timeout`; redis-py by itself would wait for ever.
    A connection that was closed is opened again once, at once.
    """
    address, *parameters = connection.split(",")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"must begin with host:port, is {connection!r}")
    try:
        options = {name: PARAMETERS[name](value) for name, _, value in (part.partition("=") for part in parameters)}
    except (KeyError, ValueError) as error:
        raise ValueError(f"its parameters must be some of {', '.join(PARAMETERS)}: {error}") from error
    bounds = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return redis.Redis(host=host, port=int(port), retry=retry, **(bounds | options))
