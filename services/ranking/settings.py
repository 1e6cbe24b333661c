"""Settings of the ranking process, read from LORELINE_RANKING_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from feature_repo.redis_connection import redis_client
from services.runtime.backoff import Backoff
from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings


class RankingSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_RANKING_")

    listen_address: str
    """host:port on which the service is served."""
    processes: int = Field(default=1, ge=1, le=256)
    """Worker processes that share the address, best one a core. Each has a cache and limits of its own."""
    features_address: str
    """host:port of the features service."""
    model_registry: Path
    """Folder of the model versions; its active pointer is followed."""
    redis_connection: str = ""
    """Feast's Redis, as `host:port,name=value,...`, to read features from without the features service in between.
    Empty reads through it always; it is read through anyway when Redis does not answer as expected."""
    redis_timeout_seconds: float = Field(default=0.1, gt=0)
    """Longest wait for one answer of Redis."""
    embedding_address: str = ""
    """host:port of the embedding service, for the expert weights that Explain tells. Empty: it tells none."""
    triton_address: str = ""
    """host:port of Triton's gRPC endpoint, whose model `scorer` scores, or several with commas between.

    Empty scores inside this process.
    """
    triton_timeout_seconds: float = Field(default=1.0, gt=0)
    """Longest wait for one answer of Triton; a caller's nearer deadline goes first."""
    triton_fallback: bool = False
    """Score inside this process when Triton does not answer; the response says so."""
    triton_join_seconds: float = Field(default=0.0, ge=0, le=0.1)
    """How long a request waits for others to be joined with while one is under way; 0 joins none."""
    triton_shared_memory: bool = False
    """Pass tensors through system shared memory: for a Triton on the same machine that shares /dev/shm."""
    features_timeout_seconds: float = Field(default=1.0, gt=0)
    """Longest wait for one read of features; a caller's nearer deadline goes first."""
    features_keepalive_seconds: float = Field(default=2.0, ge=0.5, le=60)
    """How long the features service may leave a ping unanswered before its connection is given up."""
    scorer_threads: int = Field(default=1, ge=1)
    """CPU threads of one scoring inside this process. One serves most requests per core."""
    language_model_threads: int = Field(default=0, ge=0)
    """CPU threads of a language model that ranks inside this process. 0: all cores, shared among `processes`."""
    language_model_batch: int = Field(default=32, ge=1, le=1024)
    """Candidates that a language model scores in one run; a deadline is looked at between two runs."""
    language_model_concurrency: int = Field(default=1, ge=1)
    """Lists that language models score at a time; others wait for their turn, and take none from other scorers."""
    language_model_max_queue_seconds: float = Field(default=1.0, gt=0)
    """Longest wait of a list for a language model; one that would wait longer ends with RESOURCE_EXHAUSTED at once."""
    language_model_timeout_seconds: float = Field(default=10.0, gt=0)
    """Longest wait for one run of a language model in Triton; a caller's nearer deadline goes first."""
    rerank_top: int = Field(default=50, ge=0, le=1000)
    """First places of a list that the promoted re-ranker, if there is one, puts in order; 0 leaves all as scored."""
    index: Literal["none", "hnsw"] = "none"
    """Whether Recommend is served, from an approximate index (HNSW) of the items' vectors in memory."""
    recommend_candidates: int = Field(default=300, ge=1, le=10_000)
    """How many of the nearest items Recommend ranks, where the caller does not say."""
    max_cached_items: int = Field(default=0, ge=0)
    """Items kept in memory; those not asked for lately are put out, and read when they are. 0 keeps all."""
    max_cache_lag_seconds: float = Field(default=1.0, gt=0)
    """How long the stream of item changes may be cut, silent, or behind, before items are read from the store."""
    poll_seconds: float = Field(default=0.2, gt=0)
    """How often the active pointer is looked at."""
    retry_backoff_seconds: float = Field(default=0.1, gt=0)
    """First pause before the stream of item changes, a version that failed to load, or a Triton endpoint is tried
    again; doubles up to max_retry_backoff_seconds, with jitter."""
    max_retry_backoff_seconds: float = Field(default=5.0, gt=0)
    """Longest pause between two such tries."""
    concurrency: int = Field(default=0, ge=0)
    """Requests worked on at a time; the others wait for a turn. 0: four for each core, shared among `processes`."""
    max_queue_seconds: float = Field(default=0.1, gt=0)
    """Longest wait for a turn; a request that would wait longer ends with RESOURCE_EXHAUSTED at once."""
    workers: int = Field(default=16, ge=1)
    """Threads that handle the requests of streams."""
    max_concurrent_calls: int = Field(default=128, ge=1)
    """Calls held at a time, a thread each: worked on or waiting. More end with RESOURCE_EXHAUSTED."""
    max_streams: int = Field(default=64, ge=1)
    """Streams of requests at a time, a thread each. More end with RESOURCE_EXHAUSTED."""
    shadow_queue_requests: int = Field(default=64, ge=1)
    """Requests that may wait for the shadow version; more are dropped, and counted."""
    metrics_address: str = ""
    """host:port on which metrics are served to Prometheus; empty: they are not."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""

    @property
    def backoff(self) -> Backoff:
        """The pauses between tries."""
        return Backoff(self.retry_backoff_seconds, self.max_retry_backoff_seconds)

    @field_validator("redis_connection")
    @classmethod
    def _is_a_connection(cls, value: str) -> str:
        if value:
            redis_client(value, 1.0)
        return value
