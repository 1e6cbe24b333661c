"""Settings of the updater process, read from LORELINE_UPDATER_*."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import SettingsConfigDict

from services.runtime.backoff import Backoff
from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings
from services.updater.topics import BROKERS_DEFAULT, Topic, TopicNames, streaming_topics


class UpdaterSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_UPDATER_")

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
    interactions_topic: str = "interactions"
    """Topic of what users did, keyed by user id."""
    enriched_topic: str = "enriched"
    """Topic that tells whose knowledge was stored, keyed by item or user id."""
    knowledge_topic: str = "knowledge"
    """Compacted topic of all knowledge, keyed by item/ID and user/ID: what everything can be rebuilt from."""
    dead_letter_topic: str = "dead-letters"
    """Topic that takes the records which cannot be handled, unchanged, with the reason in their headers."""
    consumer_group: str = "updater"
    """Prefix of the groups PREFIX-content, -knowledge, -interactions and -preferences: each has offsets of its own."""
    create_topics: bool = True
    """Create missing topics at start. Switch off where topics are managed elsewhere."""
    topic_partitions: PositiveInt = 4
    """Partitions of topics created at start; of the items topic: the most updaters that can share its work."""
    interactions_partitions: PositiveInt = 4
    """The same of the interactions topic."""
    topic_replication: Annotated[int, Field(ge=-1)] = BROKERS_DEFAULT
    """Replicas of topics created at start; -1 leaves it to the broker."""
    fetch_wait_seconds: Annotated[float, Field(ge=0.001, le=10)] = 0.5
    """How long a broker may hold a request for records until there are some. Kafka answers as soon as one comes, so
    that a short wait only costs processor time; a broker that looks again when the wait is over, as the local one
    does, makes a record wait for up to as long."""
    knowledge_provider: str = ""
    """Provider to ask for knowledge; empty means the knowledge service's default."""
    content_batch_records: Annotated[int, Field(ge=1, le=1000)] = 200
    """Most records handled together by the content stage, 1 to 1000."""
    content_linger_seconds: NonNegativeFloat = 0.05
    """How long the content stage waits for a batch to fill after its first record came."""
    knowledge_batch_records: Annotated[int, Field(ge=1, le=256)] = 8
    """Most records handled together by the knowledge stage, 1 to 256: one language model batch."""
    knowledge_workers: PositiveInt = 2
    """Batches that the knowledge stage has under way at the same time."""
    knowledge_queue_records: PositiveInt = 10_000
    """Most items that wait for knowledge in memory, the most wanted first; more wait in the log."""
    budget_pause_seconds: PositiveFloat = 30.0
    """How long a scenario's items or users wait before they are asked about again after its budget was spent."""
    popularity_items: PositiveInt = 100_000
    """Most items whose interactions are counted, to know which are the most wanted."""
    popularity_half_life_hours: PositiveFloat = 24.0
    """After so long an interaction counts half."""
    interactions_batch_records: Annotated[int, Field(ge=1, le=1000)] = 200
    """Most records handled together by the interactions stage, 1 to 1000."""
    interactions_linger_seconds: NonNegativeFloat = 0.05
    """How long the interactions stage waits for a batch to fill after its first record came."""
    preferences_batch_records: Annotated[int, Field(ge=1, le=256)] = 8
    """Most users handled together by the preferences stage, 1 to 256: one language model batch."""
    preferences_workers: PositiveInt = 1
    """Batches that the preferences stage has under way at the same time; few, so that items come before users."""
    preferences_queue_records: PositiveInt = 10_000
    """Most users that wait for their turn in memory; more wait in the log."""
    preference_entries: Annotated[int, Field(ge=1, le=512)] = 30
    """How many of a user's newest interactions the language model is told, 1 to 512."""
    preference_minimum_interactions: PositiveInt = 5
    """Interactions after which a user without preferences is asked about."""
    preference_refresh_interactions: PositiveInt = 10
    """New interactions after which a user's preferences are written anew."""
    preference_refresh_hours: PositiveFloat = 168.0
    """Age after which a user's preferences are written anew with the next interaction."""
    preference_refreshes_per_hour: PositiveFloat | None = None
    """Most users asked about in an hour by this process; more wait. Unset sets no limit."""
    metrics_address: str = ""
    """host:port on which metrics are served to Prometheus; empty: they are not."""
    max_value_bytes: PositiveInt = 1_048_576
    """Larger record values go to the dead letters unread, in bytes."""
    max_future_seconds: NonNegativeFloat = 3600.0
    """Events further in the future than this go to the dead letters: producers' clocks differ, but not by so much."""
    max_attempts: PositiveInt = 20
    """Tries of a batch that fails for another reason than an unreachable dependency, before dead letters."""
    session_timeout_seconds: PositiveFloat = 10.0
    """A member silent for so long loses its partitions."""
    retry_backoff_seconds: PositiveFloat = 0.2
    """First pause after a dependency failed; doubles up to max_retry_backoff_seconds, with jitter."""
    max_retry_backoff_seconds: PositiveFloat = 10.0
    """Longest pause between two tries."""
    knowledge_timeout_seconds: PositiveFloat = 240.0
    """Deadline of one knowledge batch."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""

    @property
    def backoff(self) -> Backoff:
        """The pauses between tries while something is away."""
        return Backoff(self.retry_backoff_seconds, self.max_retry_backoff_seconds)

    @property
    def topics(self) -> list[Topic]:
        """The topics that are read and written."""
        names = TopicNames(
            self.items_topic,
            self.interactions_topic,
            self.enriched_topic,
            self.knowledge_topic,
            self.dead_letter_topic,
        )
        return streaming_topics(names, self.topic_partitions, self.interactions_partitions, self.topic_replication)
