"""The calls of loreline.embedding.v1: their plain types, requests and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client.calls import Call
from loreline.embedding.v1 import embedding_pb2

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


def encode(texts: Sequence[str]) -> Call[Encoded]:
    """Encode 1 to 1,024 texts. Raises ClientError."""

    def read(response: embedding_pb2.EncodeResponse) -> Encoded:
        return Encoded(_rows(response, len(texts)), response.encoder, response.truncated)

    return Call("Encode", embedding_pb2.EncodeRequest(texts=texts), read)


def adapt(
    subject: Literal["item", "user"], vectors: npt.NDArray[np.float32], encoder: str, model_version: str = ""
) -> Call[tuple[npt.NDArray[np.float32], str]]:
    """Adapt (N, K) vectors that an encoder made; returns (N, A) float32 and the model version.

    Raises FailedPreconditionError where the version was trained on another encoder, ClientError.
    """

    def read(response: embedding_pb2.AdaptResponse) -> tuple[npt.NDArray[np.float32], str]:
        return _rows(response, len(vectors)), response.model_version

    return Call("Adapt", _adapt_request(subject, vectors, encoder, model_version), read)


@dataclass(frozen=True)
class ActiveAdapted:
    """float32 (N, A) by the active version, and the active versions of other kinds that take the vectors too."""

    vectors: npt.NDArray[np.float32]
    model_version: str
    other_versions: list[str]


def adapt_active(
    subject: Literal["item", "user"], vectors: npt.NDArray[np.float32], encoder: str
) -> Call[ActiveAdapted]:
    """Adapt (N, K) vectors that an encoder made by the active version.

    Raises FailedPreconditionError where none is active that was trained on the encoder, ClientError.
    """

    def read(response: embedding_pb2.AdaptResponse) -> ActiveAdapted:
        versions = list(response.other_active_versions)
        return ActiveAdapted(_rows(response, len(vectors)), response.model_version, versions)

    return Call("Adapt", _adapt_request(subject, vectors, encoder, ""), read)


def expert_weights(
    subject: Literal["item", "user"], vector: npt.NDArray[np.float32], encoder: str, model_version: str = ""
) -> Call[dict[str, float]]:
    """How a version's adaptor mixes its experts for a vector (K,): weights by name, which sum to 1.

    Empty for a version whose adaptor was exported without them. Raises ClientError.
    """

    def read(response: embedding_pb2.AdaptResponse) -> dict[str, float]:
        return dict(zip(response.experts, response.expert_weights, strict=True))

    request = _adapt_request(subject, vector.reshape(1, -1), encoder, model_version)
    request.with_experts = True
    return Call("Adapt", request, read)


def _adapt_request(
    subject: str, vectors: npt.NDArray[np.float32], encoder: str, model_version: str
) -> embedding_pb2.AdaptRequest:
    return embedding_pb2.AdaptRequest(
        subject=_SUBJECTS[subject],
        dimension=vectors.shape[1],
        vectors=vectors.ravel().tolist(),
        model_version=model_version,
        encoder=encoder,
    )


def _rows(response: embedding_pb2.EncodeResponse | embedding_pb2.AdaptResponse, count: int) -> npt.NDArray[np.float32]:
    return np.array(response.vectors, dtype=np.float32).reshape(count, response.dimension)
