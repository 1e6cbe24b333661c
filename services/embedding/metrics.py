"""What embedding tells Prometheus. Every name is here; docs/operating.md says what each means and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCH_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class EmbeddingMetrics:
    """The process' metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.texts = Counter("loreline_embedding_texts", "Texts encoded.", registry=self.registry)
        self.truncated = Counter(
            "loreline_embedding_truncated_texts", "Texts cut at the encoder's limit.", registry=self.registry
        )
        self.tokens = Counter("loreline_embedding_tokens", "Tokens encoded, no padding.", registry=self.registry)
        self.padding = Counter(
            "loreline_embedding_padding_tokens", "Tokens computed only to make a batch's texts equally long.",
            registry=self.registry,
        )  # fmt: skip
        self.batch_texts = Histogram(
            "loreline_embedding_batch_texts", "Texts computed together.", buckets=BATCH_TEXTS, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "loreline_embedding_batch_seconds", "Time to compute one batch.", buckets=SECONDS, registry=self.registry
        )
        self.encode_seconds = Histogram(
            "loreline_embedding_encode_seconds", "Time to encode one call's texts, once it had its turn.",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.wait_seconds = Histogram(
            "loreline_embedding_wait_seconds", "How long calls waited for their turn.",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge("loreline_embedding_waiting_calls", "Calls that wait now.", registry=self.registry)
        self.refused = Counter(
            "loreline_embedding_refused_calls", "Calls that found no turn in time.", registry=self.registry
        )
        self.adapted = Counter(
            "loreline_embedding_adapted_vectors", "Vectors adapted.", ["subject"], registry=self.registry
        )
        self.adapt_seconds = Histogram(
            "loreline_embedding_adapt_seconds", "Time to adapt one call's vectors, the loading of a version included.",
            ["subject"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip

    @contextmanager
    def batch(self, texts: int, tokens: int, padded_tokens: int) -> Iterator[None]:
        """Measures one batch; `padded_tokens` counts the padding too."""
        with self.batch_seconds.time():
            yield
        self.batch_texts.observe(texts)
        self.texts.inc(texts)
        self.tokens.inc(tokens)
        self.padding.inc(padded_tokens - tokens)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Measures a call's wait for its turn."""
        with self.waiting.track_inprogress(), self.wait_seconds.time():
            yield

    @contextmanager
    def adapt(self, subject: str, vectors: int) -> Iterator[None]:
        """Measures one call of Adapt; only one that succeeds counts its vectors."""
        with self.adapt_seconds.labels(subject).time():
            yield
        self.adapted.labels(subject).inc(vectors)
