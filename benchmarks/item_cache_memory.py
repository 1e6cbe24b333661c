"""What one item costs in ranking's memory: python -m benchmarks.item_cache_memory [--items N]

Synthetic items: ids of 12 characters, 4 fields of which one has a value of its own for every tenth item, and augmented
vectors of 32 numbers by one or by two model versions, as after a promotion.
"""

from __future__ import annotations

import argparse
import gc

import numpy as np
import psutil

from benchmarks.machine import describe_machine
from loreline.domain import PackedItem
from services.ranking.item_cache import ItemCache

PAGE = 1000  # items of one batch of the stream
FIELDS, WIDTH = 4, 32


def bytes_per_item(items: int, versions: int = 1, max_items: int = 0) -> float:
    """Growth of the process's resident memory by a cache that `items` were applied to, for each item that it holds."""
    random, process = np.random.default_rng(0), psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    cache = ItemCache(max_items=max_items)
    for start in range(0, items, PAGE):
        cache.apply([_item(number, versions, random) for number in range(start, min(start + PAGE, items))])
    gc.collect()
    return (process.memory_info().rss - before) / len(cache)


def _item(number: int, versions: int, random: np.random.Generator) -> PackedItem:
    values = [f"maker {number // 10}", *[f"value {number % (10 * field)}" for field in range(1, FIELDS)]]
    vectors = {str(v): random.normal(size=WIDTH).astype(np.float32) for v in range(versions)}
    return PackedItem(f"item{number:08}", "movies", values, vectors)


def main() -> None:
    """Print a line for one version's vectors and one for two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    items = parser.parse_args().items
    print(describe_machine())
    for versions in (1, 2):
        print(f"{items:,} items, {versions} version(s): {bytes_per_item(items, versions):.0f} bytes an item")


if __name__ == "__main__":
    main()
