"""What a million events that wait in the updater's queue take in memory, by the growth of a fresh process."""

from __future__ import annotations

import gc
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import psutil
from kafka.consumer.fetcher import ConsumerRecord

from benchmarks.streaming_line import films
from loreline.client.catalog import item_upserted
from services.updater.events import decode
from services.updater.work_queue import Work, WorkQueue

MILLION = 1_000_000


def queued_megabytes(works: int) -> float:
    """MiB a million works, extrapolated from so many."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth, works).result() * MILLION / works


def _growth(works: int) -> float:
    queue, process = WorkQueue(works), psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    for start in range(0, works, 1000):
        queue.put([_work(start + offset) for offset in range(min(1000, works - start))])
    gc.collect()
    if len(queue) != works:
        raise SystemExit(f"{len(queue)} of {works} works wait")
    return (process.memory_info().rss - before) / 2**20


def _work(number: int) -> Work:
    """As the knowledge stage keeps an item event that it read."""
    sent = item_upserted(films(f"queued-{number}", 1)[0])
    record = ConsumerRecord(
        topic="items", partition=number % 4, leader_epoch=0, offset=number, timestamp=int(time.time() * 1000),
        timestamp_type=0, key=sent.key, value=sent.value, headers=sent.headers, checksum=None,
        serialized_key_size=len(sent.key), serialized_value_size=len(sent.value), serialized_header_size=0,
    )  # fmt: skip
    event = decode(record.key, record.value, dict(record.headers), 1_048_576)
    return Work(event, record, (0.0, event.stamp.event_time.timestamp()))
