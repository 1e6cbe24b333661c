"""Settings of the updater process, read from LORELINE_UPDATER_*."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.logs import LogLevel


class UpdaterSettings(BaseSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_UPDATER_", frozen=True, use_attribute_docstrings=True)

    listen_address: str
    """host:port on which health is served."""
    bootstrap_servers: str
    """Kafka brokers, host:port, separated by commas."""
    knowledge_address: str
    """host:port of the knowledge service."""
    embedding_address: str
    """host:port of the embedding service."""
    features_address: str
    """host:port of the features service."""
    items_topic: str = "items"
    """Topic of item events, keyed by item id."""
    dead_letter_topic: str = "dead-letters"
    """Topic that takes the records which cannot be handled, unchanged, with the reason in their headers."""
    consumer_group: str = "updater"
    """Prefix of the two consumer groups, PREFIX-content and PREFIX-knowledge: each has offsets of its own."""
    create_topics: bool = True
    """Create missing topics at start. Switch off where topics are managed elsewhere."""
    topic_partitions: int = 4
    """Partitions of topics created at start; the most updaters that can share the work."""
    knowledge_provider: str = ""
    """Provider to ask for knowledge; empty means the knowledge service's default."""
    content_batch_records: int = 200
    """Most records handled together by the content stage, 1 to 1000."""
    knowledge_batch_records: int = 8
    """Most records handled together by the knowledge stage, 1 to 256: one language model batch."""
    max_value_bytes: int = 1_048_576
    """Larger record values go to the dead letters unread, in bytes."""
    max_attempts: int = 20
    """Tries of a batch that fails for another reason than an unreachable dependency, before dead letters."""
    session_timeout_seconds: float = 10.0
    """A member silent for so long loses its partitions."""
    retry_backoff_seconds: float = 0.2
    """First pause after a dependency failed; doubles up to max_retry_backoff_seconds, with jitter."""
    max_retry_backoff_seconds: float = 10.0
    """Longest pause between two tries."""
    knowledge_timeout_seconds: float = 240.0
    """Deadline of one knowledge batch; stays under Kafka's max.poll.interval of 300 s."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
