"""Reads packed features straight from Feast's Redis, and through the features service where that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import redis
import structlog
from google.protobuf.message import DecodeError

from loreline.client import unpack_item, unpack_user
from loreline.domain import PackedItem, PackedUser
from services.ranking.feast_redis import UnexpectedLayout, entity_key, field_names, packed_value
from services.ranking.feature_reads import FeatureReads

OUTAGE_PAUSE_SECONDS = 1.0
DISTRUST_SECONDS = 60.0  # after a surprise
CONFIRM_SECONDS = 1.0  # at most one miss in so long is asked of the features service too
LOG_SECONDS = 60.0
Packed = TypeVar("Packed", PackedItem, PackedUser)
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _View(Generic[Packed]):
    """A view of packed features: its entity's join key, the fields of its hash, and how a value is unpacked."""

    join_key: str
    fields: list[bytes]
    unpack: Callable[[bytes], Packed]
    id_of: Callable[[Packed], str]


_ITEMS = _View("item_id", field_names("item_packed"), unpack_item, lambda item: item.item_id)
_USERS = _View("user_id", field_names("user_packed"), unpack_user, lambda user: user.user_id)


class DirectReads:
    """Reads as FeatureReads. `count` is told of each read: `direct`, or why it went the public way.

    Redis trouble (`unavailable`) stops direct reads for a second, an unexpected layout (`layout`) for a minute; reads
    in between are `paused`. What Redis does not hold is nothing unusual, but it is also what every read would find if
    Feast's keys looked otherwise: so now and then a miss is asked of the features service too.
    """

    def __init__(self, client: redis.Redis, public: FeatureReads, count: Callable[[str], None]) -> None:
        self._client, self._public, self._count = client, public, count
        self._paused_until = self._confirmed = self._logged = -float("inf")
        self._lock = threading.Lock()

    def user(self, user_id: str, seconds_left: float | None = None) -> PackedUser:
        """See FeatureReads."""
        found = self._read(_USERS, [user_id])
        if found is None:
            return self._public.user(user_id, seconds_left)
        if found or not self._confirms():
            return found[0] if found else PackedUser(user_id)
        public = self._public.user(user_id, seconds_left)
        if public.item_ids or public.augmented:
            self._distrust("the features service knows a user whom Redis does not hold")
        return public

    def items(self, item_ids: Sequence[str], seconds_left: float | None = None) -> list[PackedItem]:
        """See FeatureReads."""
        found = self._read(_ITEMS, item_ids)
        if found is None:
            return self._public.items(item_ids, seconds_left)
        held = {item.item_id for item in found}
        missing = [item_id for item_id in item_ids if item_id not in held]
        living = [item for item in found if not item.deleted]
        if not missing or not self._confirms():
            return living
        public = self._public.items(missing, seconds_left)
        if public:
            self._distrust("the features service knows items that Redis does not hold")
        return [*living, *public]

    def _read(self, view: _View[Packed], ids: Sequence[str]) -> list[Packed] | None:
        """What Redis holds of some ids, tombstones included; None when the public way has to be gone."""
        if time.monotonic() < self._paused_until:
            self._count("paused")
            return None
        try:
            values = self._values(view, ids)
            found = [view.unpack(value) for value in values if value is not None]
            if not {view.id_of(one) for one in found} <= set(ids):
                raise UnexpectedLayout("features of another id than their key's")
        except redis.RedisError as error:
            self._pause("unavailable", OUTAGE_PAUSE_SECONDS, f"{type(error).__name__}: {error}")
            return None
        except (UnexpectedLayout, DecodeError) as error:
            self._distrust(str(error))
            return None
        self._count("direct")
        return found

    def _values(self, view: _View[Packed], ids: Sequence[str]) -> list[bytes | None]:
        with self._client.pipeline(transaction=False) as pipeline:
            for entity_id in ids:
                pipeline.hmget(entity_key(view.join_key, entity_id), view.fields)  # type: ignore[arg-type]
            return [packed_value(*fields) for fields in pipeline.execute()]

    def _confirms(self) -> bool:
        with self._lock:
            due = time.monotonic() - self._confirmed >= CONFIRM_SECONDS
            if due:
                self._confirmed = time.monotonic()
            return due

    def _distrust(self, surprise: str) -> None:
        self._pause("layout", DISTRUST_SECONDS, surprise)

    def _pause(self, reason: str, seconds: float, detail: str) -> None:
        self._count(reason)
        now = time.monotonic()
        with self._lock:
            self._paused_until = now + seconds
            silent = now - self._logged < LOG_SECONDS
            self._logged = self._logged if silent else now
        if not silent:
            log.warning("features are read through the features service", reason=reason, error=detail)
