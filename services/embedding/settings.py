"""Settings of the embedding process, read from LORELINE_EMBEDDING_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.logs import LogLevel


class EmbeddingSettings(BaseSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_EMBEDDING_", frozen=True, use_attribute_docstrings=True)

    listen_address: str
    """host:port on which the service is served."""
    model_registry: Path
    """Folder of the model versions, whose adaptors are used."""
    encoder: str = "all-MiniLM-L6-v2"
    """A bundled encoder's name, the folder of a Hugging Face model, or its name on the Hugging Face hub."""
    pooling: Literal["mean", "cls"] = "mean"
    """A text's vector: the mean of its tokens' vectors, or the first token's."""
    threads: int = Field(default=2, ge=1)
    """CPU threads that one encoding uses."""
    batch_texts: int = Field(default=32, ge=1, le=1024)
    """Most texts encoded together. The vectors do not depend on it."""
    concurrent_encodings: int = Field(default=2, ge=1)
    """Most calls of Encode that compute at the same time; more of them wait."""
    encoding_wait_seconds: float = Field(default=10.0, ge=0)
    """How long a call of Encode waits for its turn before it ends with RESOURCE_EXHAUSTED."""
    loaded_adaptors: int = Field(default=3, ge=1)
    """How many model versions' adaptors stay in memory, the ones used last."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
