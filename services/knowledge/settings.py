"""Settings of the knowledge process, read from LORELINE_KNOWLEDGE_*."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.logs import LogLevel


class KnowledgeSettings(BaseSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_KNOWLEDGE_", frozen=True, use_attribute_docstrings=True)

    listen_address: str
    """host:port on which the service and its health are served."""
    store_path: Path
    """The SQLite file that keeps the answers; made when missing."""
    default_provider: str = "catalogue"
    """The provider asked when a request names none: catalogue, embedded, embedded-llama-cpp, tgi or openai."""
    fallback_provider: str = "catalogue"
    """The provider that writes instead of one whose text failed the checks; empty: the failure is answered."""
    tgi_url: str = ""
    """Base URL of a Text Generation Inference server, for example http://tgi:8080."""
    openai_url: str = ""
    """Base URL of an OpenAI-style server up to its version, for example http://vllm:8000/v1."""
    openai_model: str = ""
    """The model's name at the OpenAI-style server."""
    api_token: SecretStr = SecretStr("")
    """Bearer token for the language model server; empty: none is asked for there."""
    max_new_tokens: int = Field(default=320, ge=16, le=4096)
    """Most tokens that a language model server may write for one answer."""
    request_timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest wait for one try of one question at a language model server."""
    question_deadline_seconds: float = Field(default=180.0, gt=0)
    """Longest time for one question, all its tries and the pauses between them included."""
    max_concurrent_questions: int = Field(default=16, ge=1, le=1024)
    """Most questions put to a language model server at the same time."""
    breaker_failures: int = Field(default=5, ge=1)
    """Questions that fail in a row before the server is left alone for breaker_pause_seconds."""
    breaker_pause_seconds: float = Field(default=10.0, gt=0)
    """How long a failing server is left alone before one question tries it again."""
    retry_initial_seconds: float = Field(default=0.5, gt=0)
    """Upper bound of the first pause between tries; doubles each time, with full jitter."""
    retry_max_seconds: float = Field(default=10.0, gt=0)
    """Upper bound of any pause between tries."""
    embedded_batch_questions: int = Field(default=8, ge=1, le=64)
    """Questions that the embedded model answers together."""
    embedded_max_new_tokens: int = Field(default=80, ge=16, le=512)
    """Most tokens that the embedded model may write for one answer."""
    samples: int = Field(default=1, ge=1, le=8)
    """Samples drawn of each prompt from a provider that can sample; with more than one their agreement is measured."""
    minimum_agreement: float | None = Field(default=None, ge=0, le=1)
    """Below this agreement the fallback provider writes instead; unset: any agreement will do. Needs samples > 1."""
    embedding_address: str = ""
    """host:port of the embedding service that compares samples; must be set when samples > 1."""
    embedding_timeout_seconds: float = Field(default=30.0, gt=0)
    """Longest wait for the embedding service's answer to one call."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""

    @model_validator(mode="after")
    def _can_compare_samples(self) -> Self:
        if self.samples > 1 and not self.embedding_address:
            raise ValueError("LORELINE_KNOWLEDGE_EMBEDDING_ADDRESS: must be set when LORELINE_KNOWLEDGE_SAMPLES > 1")
        if self.samples == 1 and self.minimum_agreement is not None:
            raise ValueError("LORELINE_KNOWLEDGE_MINIMUM_AGREEMENT: needs LORELINE_KNOWLEDGE_SAMPLES of at least 2")
        return self
