"""Translates loreline.embedding.v1 to the encoder and the adapter."""

from __future__ import annotations

import grpc
import numpy as np

from loreline.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from services.embedding.adapter import Adapter, Subject
from services.embedding.encoder import Encoder
from services.runtime.errors import InvalidRequest
from services.runtime.server import Service

SERVICE_NAME = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_SUBJECTS: dict[int, Subject] = {embedding_pb2.SUBJECT_ITEM: "item", embedding_pb2.SUBJECT_USER: "user"}


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Encode and Adapt."""

    def __init__(self, encoder: Encoder, adapter: Adapter) -> None:
        self._encoder, self._adapter = encoder, adapter

    def Encode(
        self, request: embedding_pb2.EncodeRequest, context: grpc.ServicerContext
    ) -> embedding_pb2.EncodeResponse:
        """Text to vector."""
        encoded = self._encoder.encode(list(request.texts), context.time_remaining())
        return embedding_pb2.EncodeResponse(
            encoder=self._encoder.id,
            dimension=self._encoder.dimension,
            vectors=encoded.vectors.ravel().tolist(),  # protobuf reads a list four times as fast as an array
            truncated=encoded.truncated,
        )

    def Adapt(self, request: embedding_pb2.AdaptRequest, context: grpc.ServicerContext) -> embedding_pb2.AdaptResponse:
        """Vector to augmented vector."""
        if request.subject not in _SUBJECTS:
            raise InvalidRequest([("subject", "must be SUBJECT_ITEM or SUBJECT_USER")])
        if not request.dimension or not request.vectors or len(request.vectors) % request.dimension:
            raise InvalidRequest([("vectors", f"must hold one or more vectors of {request.dimension} numbers")])
        if not request.encoder:
            raise InvalidRequest([("encoder", "must name the encoder that made the vectors")])
        vectors = np.array(request.vectors, dtype=np.float32).reshape(-1, request.dimension)
        adapted = self._adapter.adapt(
            _SUBJECTS[request.subject], vectors, request.encoder, request.model_version, request.with_experts
        )
        return embedding_pb2.AdaptResponse(
            model_version=adapted.model_version,
            dimension=adapted.vectors.shape[1],
            vectors=adapted.vectors.ravel().tolist(),
            experts=adapted.experts,
            expert_weights=adapted.expert_weights.ravel().tolist(),
            other_active_versions=adapted.others,
        )


def service(encoder: Encoder, adapter: Adapter) -> Service:
    """The service, ready to be added to a server."""
    servicer = EmbeddingServicer(encoder, adapter)
    return Service(
        SERVICE_NAME, lambda server: embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
    )
