"""Settings of the knowledge process, read from LORELINE_KNOWLEDGE_*."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings


class KnowledgeSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_KNOWLEDGE_")

    listen_address: str
    """host:port on which the service and its health are served."""
    store_path: Path
    """The SQLite file that keeps the answers; made when missing."""
    default_provider: str = "catalogue"
    """The provider asked when a request names none: catalogue, embedded, embedded-llama-cpp, tgi or openai."""
    fallback_provider: str = "catalogue"
    """The provider that writes instead of one whose text failed the checks; empty: the failure is answered."""
    fallback_retry_hours: float = Field(default=1.0, ge=0)
    """Age after which a text of the fallback provider is given up, and the model asked again with the next question."""
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
    """Most questions put to a language model server at the same time; fewer where its /info says so."""
    breaker_failures: int = Field(default=5, ge=1)
    """Tries that fail in a row before the server is left alone for breaker_pause_seconds."""
    breaker_pause_seconds: float = Field(default=10.0, gt=0)
    """How long a failing server is left alone before one try, and no other beside it, is made."""
    retry_initial_seconds: float = Field(default=0.5, gt=0)
    """First pause between tries; doubles up to retry_max_seconds, with jitter."""
    retry_max_seconds: float = Field(default=10.0, gt=0)
    """Longest pause between two tries."""
    embedded_batch_questions: int = Field(default=8, ge=1, le=64)
    """Questions that the embedded model answers together."""
    embedded_max_new_tokens: int = Field(default=80, ge=16, le=512)
    """Most tokens that the embedded model may write for one answer."""
    samples: int = Field(default=1, ge=1, le=8)
    """Samples drawn of each prompt from a provider that can sample; with more than one their agreement is measured."""
    minimum_agreement: float | None = Field(default=None, ge=0, le=1)
    """Below this agreement a text is a suspect, for scenarios without a `minimum_agreement`. Needs samples > 1."""
    embedding_address: str = ""
    """host:port of the embedding service that compares samples; must be set when samples > 1."""
    embedding_timeout_seconds: float = Field(default=30.0, gt=0)
    """Longest wait for the embedding service's answer to one call."""
    tokens_per_hour: int | None = Field(default=None, ge=0)
    """Most tokens, read and written, that language models may be asked for within 60 minutes; unset: no limit."""
    scenario_tokens_per_hour: Annotated[dict[str, NonNegativeInt], NoDecode] = Field(default_factory=dict)
    """The same for single scenarios, as a JSON object: {"movies": 500000}. What it does not name has no such limit."""
    prompt_price_per_million_tokens: float = Field(default=0.0, ge=0)
    """Price of a million tokens read, in any one currency: for the metrics of cost."""
    completion_price_per_million_tokens: float = Field(default=0.0, ge=0)
    """Price of a million tokens written, in the same currency."""
    metrics_address: str = ""
    """host:port on which metrics are served to Prometheus; empty: they are not."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""

    @field_validator("scenario_tokens_per_hour", mode="before")
    @classmethod
    def _read_budgets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'must be a JSON object such as {{"movies": 500000}}: {error}') from error

    @model_validator(mode="after")
    def _can_compare_samples(self) -> Self:
        if self.samples > 1 and not self.embedding_address:
            raise ValueError("LORELINE_KNOWLEDGE_EMBEDDING_ADDRESS: must be set when LORELINE_KNOWLEDGE_SAMPLES > 1")
        if self.samples == 1 and self.minimum_agreement is not None:
            raise ValueError("LORELINE_KNOWLEDGE_MINIMUM_AGREEMENT: needs LORELINE_KNOWLEDGE_SAMPLES of at least 2")
        return self
