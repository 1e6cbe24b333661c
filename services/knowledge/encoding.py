"""The embedding service as the knowledge service needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loreline.client import ClientError, EmbeddingClient
from services.runtime.errors import DependencyUnavailable


class TextEncoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors (N, K) of 1 to 1,024 texts. Raises DependencyUnavailable."""
        ...


class RemoteEncoder:
    """The embedding service at an address; every call ends within `timeout_seconds`."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        self._client = EmbeddingClient(address, timeout_seconds)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors (N, K) of 1 to 1,024 texts. Raises DependencyUnavailable, whatever the service said."""
        try:
            return self._client.encode(texts).vectors
        except ClientError as error:
            raise DependencyUnavailable(f"the embedding service at {self._client.address}", str(error)) from error

    def answers(self) -> bool:
        """Whether the service is ready."""
        return self._client.is_serving()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
