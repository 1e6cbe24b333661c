"""Translates loreline.features.v1 to the features of items and users."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from loreline.client.messages import item_message, knowledge_message, timestamp, vector_bytes
from loreline.features.v1 import features_pb2, features_pb2_grpc
from services.features import requests
from services.features.item_features import ItemFeatures
from services.features.ledger import Ledger
from services.features.user_features import History, UserFeatures
from services.runtime.server import Service

SERVICE_NAME = features_pb2.DESCRIPTOR.services_by_name["FeaturesService"].full_name
WATCH_PAGE = 1_000
WATCH_WAKE_SECONDS = 0.5


class FeaturesServicer(features_pb2_grpc.FeaturesServiceServicer):
    """Reads, writes and the stream of changes."""

    def __init__(self, items: ItemFeatures, users: UserFeatures, ledger: Ledger) -> None:
        self._items, self._users, self._ledger = items, users, ledger

    def GetItems(
        self, request: features_pb2.GetItemsRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetItemsResponse:
        """See the contract."""
        packed, missing = self._items.get_packed(requests.item_ids(request))
        items = [features_pb2.PackedItem.FromString(value) for value in packed]
        return features_pb2.GetItemsResponse(items=items, missing_item_ids=missing)

    def GetUser(
        self, request: features_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetUserResponse:
        """See the contract."""
        read = self._users.get(requests.one_id("user_id", request.user_id))
        user = features_pb2.PackedUser(
            user_id=read.user.user_id,
            history_item_ids=read.user.item_ids,
            history_ratings=read.user.ratings,
            history_times=read.user.times,
            augmented=[
                features_pb2.AugmentedVector(model_version=version, values=vector_bytes(vector))
                for version, vector in read.user.augmented.items()
            ],
        )
        return features_pb2.GetUserResponse(
            user=user,
            history_status=f"FEATURE_STATUS_{read.history_status}",
            knowledge_status=f"FEATURE_STATUS_{read.knowledge_status}",
        )

    def DescribeItem(
        self, request: features_pb2.DescribeItemRequest, context: grpc.ServicerContext
    ) -> features_pb2.DescribeItemResponse:
        """See the contract."""
        found = self._items.describe(requests.one_id("item_id", request.item_id))
        response = features_pb2.DescribeItemResponse(
            item=item_message(found.item),
            content_event=features_pb2.EventStamp(
                event_id=found.content.event_id, event_time=timestamp(found.content.event_time)
            ),
            content_stored_time=timestamp(found.content_stored),
            encoder=found.encoder,
            model_versions=found.model_versions,
        )
        if found.knowledge is not None and found.knowledge_stored is not None:
            response.knowledge.CopyFrom(knowledge_message(found.knowledge))
            response.knowledge_stored_time.CopyFrom(timestamp(found.knowledge_stored))
        return response

    def PutItems(
        self, request: features_pb2.PutItemsRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutItemsResponse:
        """See the contract."""
        outcomes = self._items.put(requests.item_writes(request))
        return features_pb2.PutItemsResponse(outcomes=[f"WRITE_OUTCOME_{outcome.value}" for outcome in outcomes])

    def PutUser(
        self, request: features_pb2.PutUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutUserResponse:
        """See the contract."""
        write = requests.user_write(request)
        if isinstance(write.value, History):
            outcome = self._users.put_history(write.user_id, write.stamp, write.value)
        else:
            outcome = self._users.put_knowledge(write.user_id, write.stamp, write.value)
        return features_pb2.PutUserResponse(outcome=f"WRITE_OUTCOME_{outcome.value}")

    def ListKnowledge(
        self, request: features_pb2.ListKnowledgeRequest, context: grpc.ServicerContext
    ) -> Iterator[features_pb2.ListKnowledgeResponse]:
        """See the contract."""
        for page in self._subjects(request.subject).vectors(request.lacking_model_version):
            yield features_pb2.ListKnowledgeResponse(
                subject_ids=page.subject_ids,
                encoder=page.encoder,
                dimension=page.vectors.shape[1],
                vectors=page.vectors.ravel(),
            )

    def PutAugmented(
        self, request: features_pb2.PutAugmentedRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutAugmentedResponse:
        """See the contract."""
        vectors = requests.augmented_vectors(request)
        subjects = self._subjects(request.subject)
        stored = subjects.put_augmented(
            request.model_version, list(request.subject_ids), vectors, request.serving_version
        )
        return features_pb2.PutAugmentedResponse(stored=stored)

    def Watch(
        self, request: features_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[features_pb2.WatchResponse]:
        """See the contract. Ends when the caller goes or the process drains."""
        sequence, caught_up = request.after_sequence, False
        while context.is_active() and not self._ledger.draining:
            page = self._ledger.item_page(sequence, WATCH_PAGE)
            if page or not caught_up:
                sequence = page[-1][0] if page else sequence
                caught_up = len(page) < WATCH_PAGE
                items = [features_pb2.PackedItem.FromString(packed) for _, packed in page]
                yield features_pb2.WatchResponse(items=items, sequence=sequence, caught_up=caught_up)
            if caught_up:
                self._ledger.wait_for_change(sequence, WATCH_WAKE_SECONDS)

    def _subjects(self, subject: features_pb2.Subject) -> ItemFeatures | UserFeatures:
        return self._items if requests.subject(subject) == "item" else self._users


def service(items: ItemFeatures, users: UserFeatures, ledger: Ledger) -> Service:
    """The service, ready to be added to a server."""
    servicer = FeaturesServicer(items, users, ledger)
    return Service(
        SERVICE_NAME, lambda server: features_pb2_grpc.add_FeaturesServiceServicer_to_server(servicer, server)
    )
