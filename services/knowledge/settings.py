"""Settings of the knowledge process, read from LORELINE_KNOWLEDGE_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
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
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
