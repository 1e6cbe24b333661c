"""Settings of the ranking process, read from LORELINE_RANKING_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.logs import LogLevel


class RankingSettings(BaseSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_RANKING_", frozen=True, use_attribute_docstrings=True)

    listen_address: str
    """host:port on which the service is served."""
    features_address: str
    """host:port of the features service."""
    model_registry: Path
    """Folder of the model versions; its active pointer is followed."""
    triton_address: str = ""
    """host:port of Triton's gRPC endpoint, whose model `scorer` scores. Empty scores inside this process."""
    triton_timeout_seconds: float = Field(default=1.0, gt=0)
    """Longest wait for one answer of Triton; a caller's nearer deadline goes first."""
    features_timeout_seconds: float = Field(default=1.0, gt=0)
    """Longest wait for one read of features."""
    scorer_threads: int = Field(default=1, ge=1)
    """CPU threads of one scoring inside this process. One serves most requests per core."""
    poll_seconds: float = Field(default=0.2, gt=0)
    """How often the active pointer is looked at."""
    retry_backoff_seconds: float = Field(default=0.1, gt=0)
    """First pause after the stream of item changes was cut; doubles up to max_retry_backoff_seconds, with jitter."""
    max_retry_backoff_seconds: float = Field(default=5.0, gt=0)
    """Longest pause between two tries to watch again, and to load a version that failed to load."""
    workers: int = Field(default=16, ge=1)
    """Threads that handle requests."""
    max_concurrent_calls: int = Field(default=64, ge=1)
    """Calls beyond so many at a time end with RESOURCE_EXHAUSTED."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
