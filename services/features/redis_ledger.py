"""The ledger in Redis, which several features processes share.

Every key begins with `{loreline-ledger}`, so that a server which spreads keys by their tags keeps them together:

    epoch                     string   names the ledger
    KIND:sequence             string   the newest sequence number of the kind
    KIND:by-sequence          zset     ids by the sequence number of their newest state
    KIND:ids                  zset     ids in their order
    KIND:with-knowledge       set      ids of the subjects with knowledge
    KIND:state:ID             hash     a row of COLUMNS
    KIND:lease:ID             string   who writes the subject now; goes by itself
    encoder-widths            hash     width by encoder

A put is one script: all of it or nothing, and sequence numbers in the order in which they can be read.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import structlog

from feature_repo.redis_connection import redis_client
from feature_repo.timed_redis import LONGEST_WAIT_SECONDS
from services.features.ledger import KINDS, Hold, Kind, Ledger
from services.features.ledger_rows import COLUMNS, STATE_COLUMNS, Row
from services.runtime.errors import DependencyUnavailable

PREFIX = "{loreline-ledger}:"
CHANGES = f"{PREFIX}item:changes"
PAGE = 500
LEASE_SECONDS = 15.0  # far more than a write takes, each answer of Redis being bounded
LEAST_LEASE_SECONDS = 8.0  # what must be left when a write begins
LEASE_WAIT_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 0.01
LISTEN_SECONDS = 0.2
BYTES = {"packed", "history_times_us"}
NUMBERS = {"content_time_us", "knowledge_time_us", "answer_created_us"}
LOST = -1

TAKE_LEASES = """
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return 1
"""
GIVE_LEASES_BACK = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""
PUT = """
local token, leases, states, channel, width = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local id_place, knowledge_place = tonumber(ARGV[6]), tonumber(ARGV[7])
local first, sequence = 8 + width, 0
if token ~= '' then
  for row = first, #ARGV, width do
    if redis.call('GET', leases .. ARGV[row + id_place]) ~= token then return -1 end
  end
end
for row = first, #ARGV, width do
  local id = ARGV[row + id_place]
  sequence = redis.call('INCR', KEYS[1])
  local fields = {}
  for column = 0, width - 1 do
    fields[#fields + 1] = ARGV[8 + column]
    fields[#fields + 1] = ARGV[row + column]
  end
  redis.call('HSET', states .. id, unpack(fields))
  redis.call('ZADD', KEYS[2], sequence, id)
  redis.call('ZADD', KEYS[3], 0, id)
  if ARGV[row + knowledge_place] == '' then
    redis.call('SREM', KEYS[4], id)
  else
    redis.call('SADD', KEYS[4], id)
  end
end
if channel ~= '' then redis.call('PUBLISH', channel, sequence) end
return sequence
"""
log = structlog.get_logger(__name__)


class _Lease:
    """A hold on some subjects that ends by itself, should its process die or stand still."""

    def __init__(self, token: str) -> None:
        self.token, self._ends = token, time.monotonic() + LEASE_SECONDS

    def check(self) -> None:
        """See Hold."""
        if self._ends - time.monotonic() < LEAST_LEASE_SECONDS:
            raise DependencyUnavailable("ledger", "the hold on the subjects ran out before they were written")


class RedisLedger(Ledger):
    """See Ledger. `connection` is host:port,name=value,... as Feast's connection strings are.

    A put fails when its hold has ended: another process may have written meanwhile.
    """

    def __init__(self, connection: str) -> None:
        super().__init__()
        self._client: Any = redis_client(
            connection, LONGEST_WAIT_SECONDS
        )  # its types promise that any answer may have to be awaited
        self._take, self._give_back, self._store = (
            self._client.register_script(script) for script in (TAKE_LEASES, GIVE_LEASES_BACK, PUT)
        )
        self._writing = {kind: threading.Lock() for kind in KINDS}
        self._newest_heard, self._epoch_heard_in = 0, ""
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="ledger changes", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """See Ledger."""
        self.end_watches()
        self._closed.set()
        self._listener.join()
        self._client.close()

    @contextmanager
    def exclusive(self, kind: Kind, ids: Iterable[str]) -> Iterator[Hold]:
        """See Ledger. Waits for other processes some seconds; raises DependencyUnavailable then."""
        keys = [_key(kind, "lease", subject) for subject in dict.fromkeys(ids)]
        token = uuid.uuid4().hex
        with self._writing[kind]:
            lease = self._leased(keys, token)
            try:
                yield lease
            finally:
                self._let_go(keys, token)

    def _leased(self, keys: Sequence[str], token: str) -> _Lease:
        end = time.monotonic() + LEASE_WAIT_SECONDS
        while True:
            lease = _Lease(token)  # its time runs from before it is asked for
            with _answering():
                if not keys or self._take(keys=keys, args=[token, int(LEASE_SECONDS * 1000)]):
                    return lease
            if time.monotonic() > end:
                raise DependencyUnavailable("ledger", "another process writes the same subjects")
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))

    def _let_go(self, keys: Sequence[str], token: str) -> None:
        try:
            if keys:
                self._give_back(keys=keys, args=[token])
        except redis.RedisError as error:
            log.warning("leases are left to run out", subjects=len(keys), error=str(error))

    @property
    def epoch(self) -> str:
        """See Ledger."""
        with _answering():
            found = self._client.get(_key("epoch"))
            if found is None:
                self._client.set(_key("epoch"), uuid.uuid4().hex, nx=True)
                found = self._client.get(_key("epoch"))
        epoch = bytes(found).decode()
        with self._changed:
            if epoch != self._epoch_heard_in:  # numbers begin again
                self._newest_heard, self._epoch_heard_in = 0, epoch
        return epoch

    @property
    def newest_item(self) -> int:
        """See Ledger."""
        with _answering():
            return int(self._client.get(_key("item", "sequence")) or 0)

    def item_page(self, after_sequence: int, most: int) -> list[tuple[int, bytes]]:
        """See Ledger."""
        with _answering():
            found = self._client.zrangebyscore(
                _key("item", "by-sequence"), f"({after_sequence}", "+inf", start=0, num=most, withscores=True
            )
            packed = self._fields("item", [subject.decode() for subject, _ in found], ["packed"])
        return [(int(sequence), value) for (_, sequence), (value,) in zip(found, packed, strict=True)]

    def items_changed_after(self, sequence: int) -> int:
        """See Ledger."""
        with _answering():
            return int(self._client.zcount(_key("item", "by-sequence"), f"({sequence}", "+inf"))

    def count(self, kind: Kind) -> int:
        """See Ledger."""
        with _answering():
            return int(self._client.zcard(_key(kind, "ids")))

    def subjects_with_knowledge(self, kind: Kind, lacking_version: str) -> list[str]:
        """See Ledger."""
        with _answering():
            known = sorted(self._client.sscan_iter(_key(kind, "with-knowledge"), count=PAGE))
            ids = [subject.decode() for subject in dict.fromkeys(known)]
            versions = [value for page in _pages(ids) for (value,) in self._fields(kind, page, ["versions"])]
        return [one for one, held in zip(ids, versions, strict=True) if lacking_version not in json.loads(held)]

    def bulk_stamps(self, kind: Kind) -> dict[str, tuple[int, str]]:
        """See Ledger."""
        with _answering():
            ids = [subject.decode() for subject in self._client.zrange(_key(kind, "ids"), 0, -1)]
            names = ["content_time_us", "knowledge_event"]
            rows = [row for page in _pages(ids) for row in self._fields(kind, page, names)]
        return {subject: (int(time_us), event.decode()) for subject, (time_us, event) in zip(ids, rows, strict=True)}

    def width(self, encoder: str) -> int:
        """See Ledger."""
        with _answering():
            return int(self._client.hget(_key("encoder-widths"), encoder) or 0)

    def keep_width(self, encoder: str, width: int) -> None:
        """See Ledger. Of two processes at once the first one says which it is."""
        with _answering():
            self._client.hsetnx(_key("encoder-widths"), encoder, str(width))

    def _rows(self, kind: Kind, ids: Sequence[str]) -> Iterator[Row]:
        for page in _pages(ids):
            with _answering():
                rows = self._fields(kind, page, STATE_COLUMNS)
            yield from (_row(values) for values in rows if values[0] is not None)

    def _following(self, kind: Kind, after: str, most: int) -> Iterator[Row]:
        with _answering():
            start = f"({after}" if after else "-"
            ids = self._client.zrangebylex(_key(kind, "ids"), start, "+", start=0, num=most)
        return self._rows(kind, [subject.decode() for subject in ids])

    def _fields(self, kind: Kind, ids: Sequence[str], names: Sequence[str]) -> list[list[Any]]:
        with self._client.pipeline(transaction=False) as pipeline:
            for subject in ids:
                pipeline.hmget(_key(kind, "state", subject), list(names))
            rows: list[list[Any]] = pipeline.execute()
        return rows

    def _put(self, kind: Kind, rows: Sequence[Row], hold: Hold | None) -> None:
        if not rows:
            return
        names = ("sequence", "by-sequence", "ids", "with-knowledge")
        head: list[str | int] = [
            hold.token if isinstance(hold, _Lease) else "",
            _key(kind, "lease", ""),
            _key(kind, "state", ""),
            CHANGES if kind == "item" else "",
            len(COLUMNS),
            COLUMNS.index("id"),
            COLUMNS.index("knowledge_event"),
        ]
        with _answering():
            stored = self._store(
                keys=[_key(kind, name) for name in names],
                args=[*head, *COLUMNS, *(value for row in rows for value in row)],
            )
        if stored == LOST:
            raise DependencyUnavailable("ledger", "another process has written the same subjects meanwhile")
        if kind == "item":
            self._hear(int(stored))

    def _heard_of(self) -> int:
        return self._newest_heard

    def _hear(self, sequence: int) -> None:
        with self._changed:
            self._newest_heard = max(self._newest_heard, sequence)
            self._changed.notify_all()

    def _listen(self) -> None:
        """Wake those who wait when another process stored items; whoever misses it looks by itself now and then."""
        while not self._closed.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANGES)
                    while not self._closed.is_set():
                        message = subscription.get_message(timeout=LISTEN_SECONDS)
                        if message is not None:
                            self._hear(int(message["data"]))
            except (redis.RedisError, OSError) as error:
                log.warning("changes are not heard of", error=str(error))
                self._closed.wait(random.uniform(LISTEN_SECONDS, 2 * LISTEN_SECONDS))


def _key(*parts: str) -> str:
    return PREFIX + ":".join(parts)


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))


def _row(values: Sequence[bytes]) -> Row:
    return tuple(
        value if name in BYTES else int(value) if name in NUMBERS else value.decode()
        for name, value in zip(STATE_COLUMNS, values, strict=True)
    )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise DependencyUnavailable("ledger", f"{type(error).__name__}: {error}") from error
