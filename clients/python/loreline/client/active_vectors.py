"""Fresh knowledge vectors as every active version sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client.embedding import EmbeddingClient
from loreline.client.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

Adapted = tuple[Sequence[npt.NDArray[np.float32] | None], str]


def adapt_for_all(
    embedding: EmbeddingClient, subject: Literal["item", "user"], vectors: npt.NDArray[np.float32], encoder: str
) -> list[Adapted]:
    """(N, A) augmented vectors and the version, of each active version whose adaptor takes the encoder's; at least one.

    Without any it is None for each vector, under no name: a promotion adapts every stored vector. A version that went
    in between is passed over. Raises ClientError.
    """
    try:
        first = embedding.adapt_active(subject, vectors, encoder)
    except FailedPreconditionError:
        return [([None] * len(vectors), "")]
    found: list[Adapted] = [(list(first.vectors), first.model_version)]
    for version in first.other_versions:
        try:
            augmented, _ = embedding.adapt(subject, vectors, encoder, version)
        except (FailedPreconditionError, InvalidArgumentError, NotFoundError):
            continue
        found.append((list(augmented), version))
    return found
