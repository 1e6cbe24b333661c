"""Translates loreline.features.v1 to the features of items and users."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from loreline.client import StoredSubject
from loreline.client.messages import history_message, item_message, knowledge_message, timestamp, vector_bytes
from loreline.domain import Stamp
from loreline.features.v1 import features_pb2, features_pb2_grpc
from services.features import requests
from services.features.descriptions import Descriptions
from services.features.item_features import ItemFeatures
from services.features.ledger import Ledger
from services.features.metrics import FeaturesMetrics
from services.features.ordering import WriteOutcome
from services.features.user_features import History, UserFeatures
from services.runtime.server import Service

SERVICE_NAME = features_pb2.DESCRIPTOR.services_by_name["FeaturesService"].full_name
WATCH_PAGE = 1_000
HEARTBEAT_SECONDS = 0.5  # readers count on it


class FeaturesServicer(features_pb2_grpc.FeaturesServiceServicer):
    """Reads, writes and the stream of changes."""

    def __init__(
        self,
        items: ItemFeatures,
        users: UserFeatures,
        descriptions: Descriptions,
        ledger: Ledger,
        metrics: FeaturesMetrics,
    ) -> None:
        self._items, self._users, self._descriptions = items, users, descriptions
        self._ledger, self._metrics = ledger, metrics

    def GetItems(
        self, request: features_pb2.GetItemsRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetItemsResponse:
        """See the contract."""
        packed, missing = self._items.get_packed(requests.item_ids(request))
        self._metrics.read("item", len(packed), len(missing))
        items = [features_pb2.PackedItem.FromString(value) for value in packed]
        return features_pb2.GetItemsResponse(items=items, missing_item_ids=missing)

    def GetUser(
        self, request: features_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetUserResponse:
        """See the contract."""
        read = self._users.get(requests.one_id("user_id", request.user_id))
        found = "PRESENT" in {read.history_status, read.knowledge_status}
        self._metrics.read("user", int(found), int(not found))
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
        found = self._descriptions.item(requests.one_id("item_id", request.item_id))
        response = features_pb2.DescribeItemResponse(
            item=item_message(found.item),
            content_event=_stamp(found.content),
            content_stored_time=timestamp(found.content_stored),
            encoder=found.known.encoder,
            model_versions=found.model_versions,
            vector=vector_bytes(found.known.vector),
        )
        if found.known.knowledge and found.known.stored:
            response.knowledge.CopyFrom(knowledge_message(found.known.knowledge))
            response.knowledge_stored_time.CopyFrom(timestamp(found.known.stored))
        return response

    def DescribeUser(
        self, request: features_pb2.DescribeUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.DescribeUserResponse:
        """See the contract."""
        most = requests.most_entries(request)
        found = self._descriptions.user(requests.one_id("user_id", request.user_id), most)
        return features_pb2.DescribeUserResponse(
            user=history_message(found.user),
            history_event=_stamp(found.history_event),
            interactions_since_knowledge=found.interactions_since_knowledge,
            knowledge=knowledge_message(found.knowledge) if found.knowledge else None,
            knowledge_event=_stamp(found.knowledge_event),
            knowledge_stored_time=timestamp(found.knowledge_stored_time) if found.knowledge_stored_time else None,
            encoder=found.encoder,
            model_versions=found.model_versions,
            vector=vector_bytes(found.vector),
        )

    def ListSubjects(
        self, request: features_pb2.ListSubjectsRequest, context: grpc.ServicerContext
    ) -> Iterator[features_pb2.ListSubjectsResponse]:
        """See the contract."""
        kind, after_id, scenario = requests.listing(request)
        for page in self._descriptions.subjects(kind, after_id, scenario):
            yield features_pb2.ListSubjectsResponse(subjects=map(_stored_subject, page))

    def PutItems(
        self, request: features_pb2.PutItemsRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutItemsResponse:
        """See the contract."""
        writes = requests.item_writes(request)
        with self._metrics.writing("PutItems"):
            outcomes = self._items.put(writes)
        self._metrics.wrote([write.kind for write in writes], outcomes)
        return features_pb2.PutItemsResponse(outcomes=map(_outcome, outcomes))

    def PutUser(
        self, request: features_pb2.PutUserRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutUserResponse:
        """See the contract."""
        write = requests.user_write(request)
        with self._metrics.writing("PutUser"):
            if isinstance(write.value, History):
                kind, outcome = "history", self._users.put_history(write.user_id, write.stamp, write.value)
            else:
                kind, outcome = "preferences", self._users.put_knowledge(write.user_id, write.stamp, write.value)
        self._metrics.wrote([kind], [outcome])
        return features_pb2.PutUserResponse(outcome=_outcome(outcome))

    def AppendInteractions(
        self, request: features_pb2.AppendInteractionsRequest, context: grpc.ServicerContext
    ) -> features_pb2.AppendInteractionsResponse:
        """See the contract."""
        interactions = requests.interactions(request)
        with self._metrics.writing("AppendInteractions"):
            outcomes = self._users.append(interactions)
        self._metrics.wrote(["interaction"] * len(outcomes), outcomes)
        return features_pb2.AppendInteractionsResponse(outcomes=map(_outcome, outcomes))

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
                etags=page.etags,
            )

    def PutAugmented(
        self, request: features_pb2.PutAugmentedRequest, context: grpc.ServicerContext
    ) -> features_pb2.PutAugmentedResponse:
        """See the contract."""
        vectors = requests.augmented_vectors(request)
        subjects = self._subjects(request.subject)
        with self._metrics.writing("PutAugmented"):
            stored = subjects.put_augmented(
                request.model_version,
                list(request.subject_ids),
                list(request.etags),
                vectors,
                request.serving_version,
                list(request.kept_versions),
            )
        self._metrics.wrote(["augmented"] * stored, [WriteOutcome.APPLIED] * stored)
        return features_pb2.PutAugmentedResponse(stored=stored)

    def Watch(
        self, request: features_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[features_pb2.WatchResponse]:
        """See the contract. Ends when the caller goes, the process drains, or the ledger is another."""
        epoch = self._ledger.epoch
        after, restarted = requests.watched_from(request, epoch, self._ledger.newest_item)
        with self._metrics.watching(after) as watcher:
            while context.is_active() and not self._ledger.draining and self._ledger.epoch == epoch:
                page = self._ledger.item_page(watcher.sequence, WATCH_PAGE)
                last, caught_up = page[-1][0] if page else watcher.sequence, len(page) < WATCH_PAGE
                yield features_pb2.WatchResponse(
                    items=[features_pb2.PackedItem.FromString(packed) for _, packed in page],
                    sequence=last,
                    caught_up=caught_up,
                    epoch=epoch,
                    restarted=restarted,
                )
                watcher.sequence, restarted = last, False
                if caught_up:
                    self._ledger.wait_for_change(last, HEARTBEAT_SECONDS)

    def _subjects(self, subject: features_pb2.Subject) -> ItemFeatures | UserFeatures:
        return self._items if requests.subject(subject) == "item" else self._users


def _outcome(outcome: WriteOutcome) -> str:
    return f"WRITE_OUTCOME_{outcome.value}"


def _stamp(stamp: Stamp | None) -> features_pb2.EventStamp | None:
    return features_pb2.EventStamp(event_id=stamp.event_id, event_time=timestamp(stamp.event_time)) if stamp else None


def _stored_subject(subject: StoredSubject) -> features_pb2.StoredSubject:
    return features_pb2.StoredSubject(
        subject_id=subject.subject_id,
        item=item_message(subject.item) if subject.item else None,
        event=_stamp(subject.event),
        knowledge=knowledge_message(subject.knowledge) if subject.knowledge else None,
        knowledge_event=_stamp(subject.knowledge_event),
        encoder=subject.encoder,
        model_versions=subject.model_versions,
    )


def service(
    items: ItemFeatures, users: UserFeatures, descriptions: Descriptions, ledger: Ledger, metrics: FeaturesMetrics
) -> Service:
    """The service, ready to be added to a server."""
    servicer = FeaturesServicer(items, users, descriptions, ledger, metrics)
    return Service(
        SERVICE_NAME, lambda server: features_pb2_grpc.add_FeaturesServiceServicer_to_server(servicer, server)
    )
