"""Feast's Redis store with a bound on how long one answer of Redis may take.

Feast leaves redis-py its defaults, which wait for ever for an answer and try a refused connection again for seconds.
"""

from __future__ import annotations

from typing import Any, Literal

import feature_repo.feast_import  # noqa: F401

from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType

from feature_repo.redis_connection import redis_client

NAME: Literal["feature_repo.timed_redis.TimedRedisOnlineStore"] = "feature_repo.timed_redis.TimedRedisOnlineStore"
LONGEST_WAIT_SECONDS = 0.8  # a read and its error fit into a second


class TimedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """As Feast's; `socket_timeout=` and `socket_connect_timeout=` in the connection string replace the bounds here."""

    type: Literal["feature_repo.timed_redis.TimedRedisOnlineStore"] = NAME  # type: ignore[assignment]


class TimedRedisOnlineStore(RedisOnlineStore):
    """One server, connected to by `redis_client`: an answer has LONGEST_WAIT_SECONDS.

    A cluster or a sentinel is left as Feast makes it.
    """

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        if self._client is None and online_store_config.redis_type == RedisType.redis:
            self._client = redis_client(online_store_config.connection_string, LONGEST_WAIT_SECONDS)
        return super()._get_client(online_store_config)
