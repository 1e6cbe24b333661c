"""A features service that keeps everything in memory: a whole implementation of what ranking reads, for its tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np

from loreline.client import pack_item, pack_user
from loreline.domain import PackedItem, PackedUser
from loreline.features.v1 import features_pb2, features_pb2_grpc

PAGE = 1000


class MemoryFeatures(features_pb2_grpc.FeaturesServiceServicer):
    """GetItems, GetUser, Watch, and descriptions as they stand in `described_*`; `put` and `remove` change the items.

    `reads` holds the ids of each GetItems call, `watched_from` the sequence that each Watch began after. While
    `falls_silent` is set, watchers hear nothing, as over a network that swallows everything; while `hangs` is, reads of
    users have no answer.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: dict[str, features_pb2.PackedItem] = {}
        self._sequences: dict[str, int] = {}
        self._users: dict[str, features_pb2.PackedUser] = {}
        self._sequence, self._epoch = 0, 1
        self._closed = False
        self.falls_silent = self.hangs = False
        self.reads: list[list[str]] = []
        self.watched_from: list[int] = []
        self.described_items: dict[str, features_pb2.DescribeItemResponse] = {}
        self.described_users: dict[str, features_pb2.DescribeUserResponse] = {}
        self.silent_items: dict[str, features_pb2.PackedItem] = {}  # stored, but never told to watchers

    def put(self, *items: PackedItem) -> None:
        """Store items' newest states, and tell the watchers."""
        with self._changed:
            for item in items:
                self._sequence += 1
                self._items[item.item_id] = features_pb2.PackedItem.FromString(pack_item(item))
                self._sequences[item.item_id] = self._sequence
            self._changed.notify_all()

    def put_silently(self, *items: PackedItem) -> None:
        """Store items of which no watcher is told, as if the news were late."""
        self.silent_items |= {item.item_id: features_pb2.PackedItem.FromString(pack_item(item)) for item in items}

    def set_up_anew(self, *items: PackedItem) -> None:
        """Forget all items and what was told of them, as with a new store; then store these."""
        with self._changed:
            self._items, self._sequences, self._sequence = {}, {}, 0
            self._epoch += 1
        self.put(*items)

    def set_back(self, *items: PackedItem) -> None:
        """Forget all items and what was told of them, as with a store from a backup; then store these."""
        with self._changed:
            self._items, self._sequences, self._sequence = {}, {}, 0
        self.put(*items)

    def remove(self, item_id: str) -> None:
        """Delete an item, leaving a tombstone."""
        self.put(PackedItem(item_id, "", [], deleted=True))

    def put_user(self, user: PackedUser) -> None:
        """Store a user."""
        self._users[user.user_id] = features_pb2.PackedUser.FromString(pack_user(user))

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def open(self) -> None:
        """Let watches be opened again."""
        self._closed = False

    def GetItems(self, request: features_pb2.GetItemsRequest, context: grpc.ServicerContext):
        self.reads.append(list(request.item_ids))
        stored = self._items | self.silent_items
        found = [stored[i] for i in request.item_ids if i in stored and not stored[i].deleted]
        names = {item.item_id for item in found}
        return features_pb2.GetItemsResponse(
            items=found, missing_item_ids=[i for i in request.item_ids if i not in names]
        )

    def GetUser(self, request: features_pb2.GetUserRequest, context: grpc.ServicerContext):
        while self.hangs and context.is_active():
            time.sleep(0.02)
        user = self._users.get(request.user_id)
        if user is None:
            missing = features_pb2.FEATURE_STATUS_NOT_FOUND
            empty = features_pb2.PackedUser(user_id=request.user_id)
            return features_pb2.GetUserResponse(user=empty, history_status=missing, knowledge_status=missing)
        present, null = features_pb2.FEATURE_STATUS_PRESENT, features_pb2.FEATURE_STATUS_NULL
        return features_pb2.GetUserResponse(
            user=user,
            history_status=present if user.history_item_ids else null,
            knowledge_status=present if user.augmented else null,
        )

    def DescribeItem(self, request: features_pb2.DescribeItemRequest, context: grpc.ServicerContext):
        if request.item_id not in self.described_items:
            context.abort(grpc.StatusCode.NOT_FOUND, request.item_id)
        return self.described_items[request.item_id]

    def DescribeUser(self, request: features_pb2.DescribeUserRequest, context: grpc.ServicerContext):
        if request.user_id not in self.described_users:
            context.abort(grpc.StatusCode.NOT_FOUND, request.user_id)
        return self.described_users[request.user_id]

    def Watch(self, request: features_pb2.WatchRequest, context: grpc.ServicerContext) -> Iterator:
        self.watched_from.append(request.after_sequence)
        restarted = not request.after_sequence or request.epoch != str(self._epoch)
        after = 0 if restarted else request.after_sequence
        if after > self._sequence:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "after_sequence: it is beyond the newest")
        epoch = self._epoch
        while not self._closed and context.is_active() and epoch == self._epoch:
            page, last, caught_up = self._page(after)
            if not self.falls_silent:
                yield features_pb2.WatchResponse(
                    items=page, sequence=last, caught_up=caught_up, epoch=str(epoch), restarted=restarted
                )
                after, restarted = last, False
            with self._changed:
                self._changed.wait_for(lambda seen=after: self._closed or self._sequence > seen, timeout=0.2)

    def _page(self, after: int) -> tuple[list[features_pb2.PackedItem], int, bool]:
        with self._changed:
            news = sorted((number, item_id) for item_id, number in self._sequences.items() if number > after)
            page = news[:PAGE]
            last = page[-1][0] if page else after
            return [self._items[item_id] for _, item_id in page], last, len(page) == len(news)


def item(item_id: str, genre: str = "Drama", decade: str = "1990", **augmented: list[float]) -> PackedItem:
    """A film; `v1=[...]` is its augmented vector of model version 1."""
    vectors = {name.removeprefix("v"): np.array(values, dtype=np.float32) for name, values in augmented.items()}
    return PackedItem(item_id, "movies", [genre, decade], vectors)
