"""Settings of the features process, read from LORELINE_FEATURES_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings


class FeaturesSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given.

    With `online_store=redis`, LORELINE_REDIS_CONNECTION (host:port) is read by Feast's own configuration, and by the
    ledger's with `ledger=redis`.
    """

    model_config = SettingsConfigDict(env_prefix="LORELINE_FEATURES_")

    listen_address: str
    """host:port on which the service is served."""
    feature_directory: Path
    """Feast's registry, Parquet sources, SQLite online store, and the ledger."""
    online_store: Literal["sqlite", "redis"] = "sqlite"
    """Where online features are kept."""
    ledger: Literal["sqlite", "redis"] = "sqlite"
    """Where the order of events is kept: in a file of the feature directory, for one process, or in Redis beside the
    online features, for several."""
    metrics_address: str = ""
    """host:port on which metrics are served to Prometheus; empty: they are not."""
    workers: PositiveInt = 32
    """Threads that serve calls of one answer."""
    max_concurrent_calls: PositiveInt = 128
    """Such calls taken at once; more end with RESOURCE_EXHAUSTED."""
    max_streams: PositiveInt = 128
    """Streams at once, a thread each: two of every ranking process, and listings. More end with RESOURCE_EXHAUSTED."""
    drain_seconds: NonNegativeFloat = 5.0
    """How long running calls may go on after SIGTERM."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""

    @field_validator("ledger")
    @classmethod
    def _has_its_store(cls, value: str, given: ValidationInfo) -> str:
        if value == "redis" and given.data.get("online_store") != "redis":
            raise ValueError(
                "redis needs online_store=redis: processes that share a ledger must share the features too"
            )
        return value
