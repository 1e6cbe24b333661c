"""Settings of the embedding process, read from LORELINE_EMBEDDING_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings


class EmbeddingSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_EMBEDDING_")

    listen_address: str
    """host:port on which the service is served."""
    processes: int = Field(default=1, ge=1, le=256)
    """Worker processes that share the address. Each loads the encoder, and computes with `threads` threads."""
    model_registry: Path
    """Folder of the model versions, whose adaptors are used."""
    encoder: str = "all-MiniLM-L6-v2"
    """A bundled encoder's name, the folder of a Hugging Face model, or its name on the Hugging Face hub."""
    pooling: Literal["mean", "cls"] = "mean"
    """A text's vector: the mean of its tokens' vectors, or the first token's."""
    threads: int = Field(default=2, ge=1)
    """CPU threads that compute, each a batch; all calls share them."""
    batch_texts: int = Field(default=32, ge=1, le=1024)
    """Most texts encoded together. The vectors do not depend on it."""
    batch_tokens: int = Field(default=384, ge=1)
    """Most tokens encoded together, padding included: few fit a processor's caches, and texts of one length."""
    concurrent_encodings: int = Field(default=2, ge=1)
    """Most calls of Encode that take turns at the threads; more of them wait."""
    encoding_wait_seconds: float = Field(default=10.0, ge=0)
    """How long a call of Encode waits for its turn before it ends with RESOURCE_EXHAUSTED."""
    loaded_adaptors: int = Field(default=3, ge=1)
    """How many model versions' adaptors stay in memory, the ones used last."""
    metrics_address: str = ""
    """host:port on which metrics are served to Prometheus; empty: they are not."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""


class BackfillSettings(EnvironmentSettings):
    """Options of `python -m services.embedding.backfill`: --partition-rows, or LORELINE_BACKFILL_PARTITION_ROWS."""

    model_config = SettingsConfigDict(
        env_prefix="LORELINE_BACKFILL_",
        cli_parse_args=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_prog_name="python -m services.embedding.backfill",
    )

    input: Path
    """Parquet file, or folder of them, with the columns id and text."""
    output: Path
    """Folder that takes the vectors; one that the same job began is gone on with."""
    subject: Literal["item", "user"] = "item"
    """What the texts are about: which half of the adaptor is used."""
    adaptor: str = ""
    """Model version whose adaptor makes augmented vectors too; empty: none are made, the promotion will."""
    model_registry: Path | None = None
    """Folder of the model versions; needed with an adaptor."""
    encoder: str = "all-MiniLM-L6-v2"
    """The same encoder as the embedding process's."""
    pooling: Literal["mean", "cls"] = "mean"
    """The same pooling as the embedding process's."""
    partition_rows: int = Field(default=10_000, ge=1)
    """Texts of one partition: what is done again at most when a run is broken off."""
    engine: Literal["auto", "ray", "process"] = "auto"
    """Who does the partitions: actors of Ray, this process, or Ray where it is installed."""
    ray_address: str = ""
    """Address of a Ray cluster; empty: RAY_ADDRESS, or a local one that is started and stopped again."""
    workers: int = Field(default=0, ge=0)
    """Most actors of Ray; 0: as many as this machine's processors allow."""
    threads: int = Field(default=2, ge=1)
    """Processors of one actor, or of this process."""
    batch_texts: int = Field(default=32, ge=1, le=1024)
    """Most texts encoded together."""
    batch_tokens: int = Field(default=384, ge=1)
    """Most tokens encoded together, padding included."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
