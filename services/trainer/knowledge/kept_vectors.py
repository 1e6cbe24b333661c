"""Vectors of texts in a file, so that a build of knowledge that was broken off encodes nothing twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from loreline.client import EmbeddingClient, Encoded

PROBE = "Which encoder is this?"
PAGE = 500  # SQLite's bound on a statement's parameters is a thousand


class EncoderChanged(Exception):
    """The embedding service was restarted with another encoder while it was used."""


class KeptVectors:
    """The embedding service behind a file: what was encoded before by the encoder that it has now is read.

    Each call's vectors are on disk when it returns. For one thread; a context manager.
    """

    def __init__(self, embedding: EmbeddingClient, path: Path) -> None:
        self._embedding = embedding
        self._encoder = embedding.encode([PROBE]).encoder
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path)
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS vectors (encoder TEXT, text BLOB, vector BLOB, PRIMARY KEY (encoder, text))"
            " WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Vectors (N, K) float32 of N texts; `truncated`: of those not kept yet. Raises EncoderChanged, ClientError."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        known = self._known(keys)
        truncated = 0
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if fresh:
            encoded = self._embedding.encode(list(fresh.values()))
            if encoded.encoder != self._encoder:
                raise EncoderChanged(f"the embedding service went from {self._encoder} to {encoded.encoder} meanwhile")
            truncated = encoded.truncated
            made = dict(zip(fresh, encoded.vectors, strict=True))
            rows = [(self._encoder, key, vector.astype("<f4").tobytes()) for key, vector in made.items()]
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
            known |= made
        return Encoded(np.stack([known[key] for key in keys]), self._encoder, truncated)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        found = {}
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            marks = ", ".join("?" * len(page))
            query = f"SELECT text, vector FROM vectors WHERE encoder = ? AND text IN ({marks})"
            for key, vector in self._file.execute(query, [self._encoder, *page]):
                found[key] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
        return found
