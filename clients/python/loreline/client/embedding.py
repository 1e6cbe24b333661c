"""Client of loreline.embedding.v1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client.channel import Client
from loreline.client.errors import client_errors
from loreline.embedding.v1 import embedding_pb2, embedding_pb2_grpc

_SUBJECTS: dict[str, embedding_pb2.Subject] = {
    "item": embedding_pb2.SUBJECT_ITEM,
    "user": embedding_pb2.SUBJECT_USER,
}


@dataclass(frozen=True)
class Encoded:
    """float32 (N, K) unit vectors, the encoder's id, and how many texts were cut at the encoder's limit."""

    vectors: npt.NDArray[np.float32]
    encoder: str
    truncated: int


class EmbeddingClient(Client):
    """Asks the embedding service. `timeout_seconds` bounds one call."""

    def __init__(self, address: str, timeout_seconds: float = 120.0) -> None:
        super().__init__(address, timeout_seconds)
        self._stub = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode 1 to 1,024 texts. Raises ClientError."""
        with client_errors():
            response = self._stub.Encode(embedding_pb2.EncodeRequest(texts=texts), timeout=self.timeout_seconds)
        vectors = np.array(response.vectors, dtype=np.float32).reshape(len(texts), response.dimension)
        return Encoded(vectors, response.encoder, response.truncated)

    def adapt(
        self, subject: Literal["item", "user"], vectors: npt.NDArray[np.float32], model_version: str = ""
    ) -> tuple[npt.NDArray[np.float32], str]:
        """Adapt (N, K) vectors; returns (N, A) float32 and the model version. Raises ClientError."""
        request = embedding_pb2.AdaptRequest(
            subject=_SUBJECTS[subject],
            dimension=vectors.shape[1],
            vectors=vectors.ravel(),
            model_version=model_version,
        )
        with client_errors():
            response = self._stub.Adapt(request, timeout=self.timeout_seconds)
        augmented = np.array(response.vectors, dtype=np.float32).reshape(len(vectors), response.dimension)
        return augmented, response.model_version
