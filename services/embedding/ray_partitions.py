"""Does partitions on a Ray cluster, or on a local one that is started for it. Imported only where Ray is wanted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported home unless somebody asks for it

import ray
import ray.data

from services.embedding.partitions import Done, PartitionWork
from services.embedding.text_partitions import Partition

LOCAL_STORE_BYTES = 128 * 1024 * 1024  # only the partitions' numbers pass through it
Row = dict[str, list[object]]


class _Actor:
    """Opens the encoder once, then does partition after partition."""

    def __init__(self, open_work: Callable[[], PartitionWork], partitions: Sequence[Partition]) -> None:
        self._work, self._partitions = open_work(), partitions

    def __call__(self, batch: dict[str, Sequence[int]]) -> Row:
        done = [asdict(self._work(self._partitions[int(number)])) for number in batch["number"]]
        return {name: [row[name] for row in done] for name in done[0]}


def on_ray(
    open_work: Callable[[], PartitionWork],
    partitions: Sequence[Partition],
    *,
    address: str,
    workers: int,
    threads: int,
) -> Iterator[Done]:
    """Yield partitions as they are done by up to `workers` actors, each with `threads` processors.

    `address` is that of a cluster, empty for RAY_ADDRESS, or for a local one. `open_work` and the files must be there
    on every node.
    """
    _connect(address, workers * threads)
    try:
        numbers = [{"number": number} for number in range(len(partitions))]
        done = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
            _Actor,
            fn_constructor_kwargs={"open_work": open_work, "partitions": partitions},
            batch_size=1,
            num_cpus=threads,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
        )
        for row in done.iter_rows():
            yield Done(row["name"], row["texts"], row["truncated"])
    finally:
        ray.shutdown()


def _connect(address: str, cpus: int) -> None:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.WARNING)
        return
    ray.init(
        num_cpus=cpus,
        object_store_memory=LOCAL_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
