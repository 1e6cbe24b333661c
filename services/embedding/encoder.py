"""Text to vector by a frozen encoder, in batches of texts of similar length."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

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

    A text's vector does not depend on the texts beside it: padding is masked. At most `concurrent_encodings` calls
    compute at once; a call that has waited `wait_seconds` for its turn raises Overloaded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        batch_texts: int = 32,
        concurrent_encodings: int = 2,
        wait_seconds: float = 10.0,
    ) -> None:
        facts = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        self.id, self.dimension, self.max_tokens = str(facts["id"]), int(facts["dimension"]), int(facts["max_tokens"])
        self._padding = int(facts["padding_id"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)
        self._session = onnxruntime.InferenceSession(folder / "encoder.onnx", _options(threads))
        self._batch_texts, self._wait_seconds = batch_texts, wait_seconds
        self._turns = threading.BoundedSemaphore(concurrent_encodings)

    def encode(self, texts: Sequence[str], timeout_seconds: float | None = None) -> EncodedTexts:
        """Encode 1 to 1,024 texts of 1 to 16,384 characters.

        Raises InvalidRequest (fields as in loreline.embedding.v1), Overloaded, DeadlineExceeded when
        `timeout_seconds` is over before the last batch began.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        _check(texts)
        with self._turn(timeout_seconds):
            tokens = self._tokenizer.encode_batch(list(texts))
            vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
            for rows in self._batches([len(text) for text in tokens]):
                _check_time(deadline)
                vectors[rows] = self._run([tokens[row] for row in rows])
        return EncodedTexts(vectors, sum(bool(text.overflowing) for text in tokens))

    def _batches(self, lengths: Sequence[int]) -> Iterator[npt.NDArray[np.intp]]:
        """Rows of texts of similar length, so that little is padding."""
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), self._batch_texts):
            yield order[start : start + self._batch_texts]

    def _run(self, texts: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        width = max(2, max(len(text) for text in texts))  # the exporter takes a length of 1 for a constant
        token_ids = np.full((len(texts), width), self._padding, dtype=np.int64)  # (B, T)
        mask = np.zeros((len(texts), width), dtype=np.int64)  # (B, T)
        for row, text in enumerate(texts):
            token_ids[row, : len(text)], mask[row, : len(text)] = text.ids, 1
        vectors: npt.NDArray[np.float32] = self._session.run(None, {"input_ids": token_ids, "attention_mask": mask})[0]
        return vectors

    @contextmanager
    def _turn(self, timeout_seconds: float | None) -> Iterator[None]:
        wait = self._wait_seconds if timeout_seconds is None else min(self._wait_seconds, timeout_seconds)
        if not self._turns.acquire(timeout=wait):
            raise Overloaded(f"no turn to encode within {wait:.1f} s: too many calls compute")
        try:
            yield
        finally:
            self._turns.release()


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
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
