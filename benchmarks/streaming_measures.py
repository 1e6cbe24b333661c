"""The measurements of benchmarks/streaming.py: each works on a line that runs already."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from benchmarks.streaming_line import Line, films
from services.embedding.encoder import MAX_TEXTS, Encoder

WAIT_SECONDS = 600.0
INTERACTIONS_PER_USER = 20  # less than a history holds, so that each one can be counted there


@dataclass(frozen=True)
class Throughput:
    """Items/s from the first one handed to the producer until all had content, and until all had knowledge.

    `cpu_ms` is processor time an item of each process, by its name, from publishing to the last item's knowledge.
    """

    content: float
    knowledge: float
    cpu_ms: dict[str, float]


@dataclass(frozen=True)
class EncoderRate:
    """What the encoder does by itself."""

    texts: float
    tokens: float
    tokens_per_text: float


def throughput(line: Line, prefix: str, count: int) -> Throughput:
    """Publish so many new items at once, and wait until the last is enriched."""
    items = films(prefix, count)
    ids = [item.item_id for item in items]
    before, began = line.cpu_seconds(), time.monotonic()
    line.publish(items)
    line.arrivals.wait(line.arrivals.knowledge, ids, WAIT_SECONDS)
    after = line.cpu_seconds()
    content, knowledge = (
        max(seen[name] for name in ids) - began for seen in (line.arrivals.content, line.arrivals.knowledge)
    )
    cpu = {name: (seconds - before[name]) * 1000 / count for name, seconds in after.items() if name in before}
    return Throughput(count / content, count / knowledge, cpu)


def stored_texts(line: Line, prefix: str) -> list[str]:
    """The knowledge texts that were stored for the items of a `throughput`."""
    found = takewhile(lambda one: one.subject_id.startswith(prefix), line.features.subjects("item", after_id=prefix))
    return [one.knowledge.text for one in found if one.knowledge]


def encoder_alone(encoder: Encoder, texts: Sequence[str]) -> EncoderRate:
    """Encode texts in calls that are as large as they may be."""
    tokens = encoder.count_tokens(texts)
    began = time.monotonic()
    for start in range(0, len(texts), MAX_TEXTS):
        encoder.encode(texts[start : start + MAX_TEXTS])
    seconds = time.monotonic() - began
    return EncoderRate(len(texts) / seconds, tokens / seconds, tokens / len(texts))


def seconds_to_rankable(line: Line, prefix: str, rate: float, seconds: float) -> list[float]:
    """Publish at a rate whatever becomes of it; the time of each item from when it was due until its content came."""
    due = line.publish(films(prefix, max(1, round(rate * seconds))), rate)
    line.arrivals.wait(line.arrivals.content, list(due), WAIT_SECONDS)
    return [line.arrivals.content[item_id] - moment for item_id, moment in due.items()]


def seconds_to_enriched(line: Line, prefix: str, count: int) -> list[float]:
    """Publish so many items at once; the time of each until its knowledge came, in the order of coming."""
    due = line.publish(films(prefix, count))
    line.arrivals.wait(line.arrivals.knowledge, list(due), WAIT_SECONDS)
    return sorted(line.arrivals.knowledge[item_id] - moment for item_id, moment in due.items())


def interactions_per_second(line: Line, prefix: str, count: int) -> float:
    """Publish so many interactions of new users at once; until all are committed, then counted in the histories."""
    users = [f"{prefix}-u{number}" for number in range(max(1, count // INTERACTIONS_PER_USER))]
    items = films(f"{prefix}-seen", INTERACTIONS_PER_USER)
    began = time.monotonic()
    line.publish_interactions(users, [item.item_id for item in items])
    line.wait_until_committed("interactions", "updater-interactions", WAIT_SECONDS)
    seconds = time.monotonic() - began
    lacking = [user for user in users if len(line.features.user(user).user.item_ids) != INTERACTIONS_PER_USER]
    if lacking:
        raise SystemExit(f"the histories of {len(lacking)} of {len(users)} users are not whole: {lacking[0]}")
    return len(users) * INTERACTIONS_PER_USER / seconds


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    p50, p99 = np.percentile(values, [50, 99])
    return float(p50), float(p99)


@contextmanager
def hanging_language_model(line: Line) -> Iterator[None]:
    """The server takes questions and answers none while the block runs."""
    os.kill(line.stub.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(line.stub.pid, signal.SIGCONT)
