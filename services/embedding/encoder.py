"""Text to vector by a frozen encoder, in batches of texts of similar length."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from services.embedding.batching import length_batches
from services.embedding.metrics import EmbeddingMetrics
from services.runtime.errors import DeadlineExceeded, InvalidRequest, Overloaded

MAX_TEXTS = 1024
MAX_TEXT_CHARACTERS = 16_384


@dataclass(frozen=True)
class EncodedTexts:
    """float32 (N, K) unit vectors in the texts' order, and how many texts were cut at the encoder's limit."""

    vectors: npt.NDArray[np.float32]
    truncated: int


class Encoder:
    """Runs an encoder that services.embedding.encoder_export wrote. Safe to share between threads.

    A text's vector does not depend on the texts beside it: padding is masked. All calls share `threads` threads, each
    of which computes a small batch by itself, since threads that share one batch wait for each other. At most
    `concurrent_encodings` calls have batches under way; a call that has waited `wait_seconds` for its turn raises
    Overloaded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        batch_texts: int = 32,
        batch_tokens: int = 384,
        concurrent_encodings: int = 2,
        wait_seconds: float = 10.0,
        metrics: EmbeddingMetrics | None = None,
    ) -> None:
        facts = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        self.id, self.dimension, self.max_tokens = str(facts["id"]), int(facts["dimension"]), int(facts["max_tokens"])
        self._padding = int(facts["padding_id"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)
        self._session = onnxruntime.InferenceSession(folder / "encoder.onnx", _options())
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self._batch_texts, self._batch_tokens, self._wait_seconds = batch_texts, batch_tokens, wait_seconds
        self._turns = threading.BoundedSemaphore(concurrent_encodings)
        self._metrics = metrics or EmbeddingMetrics()

    def encode(self, texts: Sequence[str], timeout_seconds: float | None = None) -> EncodedTexts:
        """Encode 1 to 1,024 texts of 1 to 16,384 characters.

        Raises InvalidRequest (fields as in loreline.embedding.v1), Overloaded, DeadlineExceeded when
        `timeout_seconds` is over before the last batch began.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        _check(texts)
        with self._turn(timeout_seconds), self._metrics.encode_seconds.time():
            tokens = self._tokenizer.encode_batch(list(texts))
            vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
            for rows, found in self._computed(tokens, deadline):
                vectors[rows] = found
        truncated = sum(bool(text.overflowing) for text in tokens)
        self._metrics.truncated.inc(truncated)
        return EncodedTexts(vectors, truncated)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens `encode` would compute for the texts, padding left out."""
        return sum(len(text) for text in self._tokenizer.encode_batch(list(texts)))

    def _computed(
        self, tokens: Sequence[Encoding], deadline: float | None
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Rows and their vectors. Few batches are handed over ahead, so that calls take turns at the threads."""
        under_way: deque[tuple[npt.NDArray[np.intp], Future[npt.NDArray[np.float32]]]] = deque()
        for rows in length_batches([len(text) for text in tokens], self._batch_texts, self._batch_tokens):
            _check_time(deadline)
            under_way.append((rows, self._pool.submit(self._run, [tokens[row] for row in rows])))
            if len(under_way) > self._threads:
                ready, future = under_way.popleft()
                yield ready, future.result()
        for ready, future in under_way:
            yield ready, future.result()

    def _run(self, texts: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        width = max(2, max(len(text) for text in texts))  # the exporter takes a length of 1 for a constant
        token_ids = np.full((len(texts), width), self._padding, dtype=np.int64)  # (B, T)
        mask = np.zeros((len(texts), width), dtype=np.int64)  # (B, T)
        for row, text in enumerate(texts):
            token_ids[row, : len(text)], mask[row, : len(text)] = text.ids, 1
        with self._metrics.batch(len(texts), int(mask.sum()), mask.size):
            found = self._session.run(None, {"input_ids": token_ids, "attention_mask": mask})
        vectors: npt.NDArray[np.float32] = found[0]
        return vectors

    @contextmanager
    def _turn(self, timeout_seconds: float | None) -> Iterator[None]:
        wait = self._wait_seconds if timeout_seconds is None else min(self._wait_seconds, timeout_seconds)
        with self._metrics.wait():
            has_turn = self._turns.acquire(timeout=wait)
        if not has_turn:
            self._metrics.refused.inc()
            raise Overloaded(f"no turn to encode within {wait:.1f} s: too many calls compute")
        try:
            yield
        finally:
            self._turns.release()


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _check(texts: Sequence[str]) -> None:
    violations = [] if 1 <= len(texts) <= MAX_TEXTS else [("texts", f"must hold 1 to {MAX_TEXTS} texts")]
    for index, text in enumerate(texts[:MAX_TEXTS]):
        if not 1 <= len(text) <= MAX_TEXT_CHARACTERS:
            violations.append((f"texts[{index}]", f"must have 1 to {MAX_TEXT_CHARACTERS} characters"))
    if violations:
        raise InvalidRequest(violations)


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded("the time was over before all texts were encoded: send fewer, or allow more time")
