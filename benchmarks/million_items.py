"""A features service that streams made-up items, as many as wanted, for Recommend over a catalogue of real size.

    python -m benchmarks.million_items --items 1000000 --port 50070

Their vectors lie around as many centres as there are thousands of items, at least 20, as those of real catalogues do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import grpc
import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.model_version import GENRES
from loreline.domain import PackedItem
from loreline.features.v1 import features_pb2, features_pb2_grpc
from services.ranking.item_index import ItemIndex
from services.runtime.server import ServerOptions, Service, serve

WIDTH, PAGE, HISTORY, LIKED = 32, 1000, 50, 5.0
EPOCH = "made up"
SPREAD = 0.5  # of the vectors around their centre; the centres' numbers have a deviation of 1
QUERIES, NEAREST = 200, 100
NAME = features_pb2.DESCRIPTOR.services_by_name["FeaturesService"].full_name


def vectors(items: int) -> npt.NDArray[np.float32]:
    """(items, WIDTH), the same every time."""
    random, centres = np.random.default_rng(2), max(20, items // 1000)
    middle = random.normal(size=(centres, WIDTH)).astype(np.float32)
    found = middle[np.arange(items) % centres]
    found += SPREAD * random.standard_normal(size=(items, WIDTH), dtype=np.float32)
    return found


def index_measures(items: int) -> dict[str, float]:
    """Build the index alone over so many items: seconds, processor seconds, bytes a vector, search ms, recall@100."""
    points, index, process = vectors(items), ItemIndex(), psutil.Process()
    before, began, cpu = process.memory_info().rss, time.perf_counter(), time.process_time()
    for start in range(0, items, PAGE):
        page = range(start, min(start + PAGE, items))
        index.apply([PackedItem(f"i{n}", "movies", [], {"1": points[n]}) for n in page])
    built, used, held = time.perf_counter() - began, time.process_time() - cpu, process.memory_info().rss - before
    random = np.random.default_rng(3)
    queries = points[random.integers(0, items, QUERIES)] + random.normal(0, SPREAD, (QUERIES, WIDTH)).astype(np.float32)
    began = time.perf_counter()
    found = [index.nearest("movies", "1", query[None], NEAREST)[0] for query in queries]
    searched = (time.perf_counter() - began) * 1000 / QUERIES
    recall = _recall(points, queries, found)
    found = {"build_seconds": built, "build_cpu_seconds": used, "bytes": held / items}
    return found | {"search_ms": searched, "recall": recall}


def _recall(points: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], found: list[list[str]]) -> float:
    lengths, hits = np.linalg.norm(points, axis=1), 0
    for query, ids in zip(queries, found, strict=True):
        exact = np.argpartition(-(points @ query) / lengths, NEAREST)[:NEAREST]
        hits += len({f"i{number}" for number in exact} & set(ids))
    return hits / (len(queries) * NEAREST)


class MadeUpFeatures(features_pb2_grpc.FeaturesServiceServicer):
    """Watch streams all items once; user uN liked HISTORY items around two centres."""

    def __init__(self, items: int) -> None:
        self._items, self._vectors = items, vectors(items)

    def Watch(
        self, request: features_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[features_pb2.WatchResponse]:
        """See the contract; nothing changes afterwards."""
        last = features_pb2.WatchResponse(sequence=self._items, caught_up=True, epoch=EPOCH)
        for start in range(request.after_sequence, self._items, PAGE):
            end = min(start + PAGE, self._items)
            items = [self._item(number) for number in range(start, end)]
            yield features_pb2.WatchResponse(items=items, sequence=end, caught_up=end == self._items, epoch=EPOCH)
        while context.is_active():
            time.sleep(0.2)
            yield last

    def GetUser(
        self, request: features_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetUserResponse:
        """See the contract."""
        random, centres = np.random.default_rng(int(request.user_id[1:])), max(20, self._items // 1000)
        places = random.choice(centres, 2)[random.integers(0, 2, HISTORY)]
        numbers = places + centres * random.integers(0, self._items // centres, HISTORY)
        user = features_pb2.PackedUser(
            user_id=request.user_id,
            history_item_ids=[f"i{number}" for number in numbers],
            history_ratings=[LIKED] * HISTORY,
            history_times=range(HISTORY),
        )
        present, null = features_pb2.FEATURE_STATUS_PRESENT, features_pb2.FEATURE_STATUS_NULL
        return features_pb2.GetUserResponse(user=user, history_status=present, knowledge_status=null)

    def GetItems(
        self, request: features_pb2.GetItemsRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetItemsResponse:
        """See the contract; who follows Watch need not ask."""
        return features_pb2.GetItemsResponse(missing_item_ids=request.item_ids)

    def _item(self, number: int) -> features_pb2.PackedItem:
        vector = features_pb2.AugmentedVector(model_version="1", values=self._vectors[number].tobytes())
        fields = [GENRES[number % len(GENRES)], "1980" if number % 2 else "1990"]
        return features_pb2.PackedItem(item_id=f"i{number}", scenario="movies", field_values=fields, augmented=[vector])


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    servicer = MadeUpFeatures(given.items)

    def add_to(server: grpc.Server) -> None:
        features_pb2_grpc.add_FeaturesServiceServicer_to_server(servicer, server)

    serve(ServerOptions(f"127.0.0.1:{given.port}"), [Service(NAME, add_to)], checks={})


if __name__ == "__main__":
    main()
