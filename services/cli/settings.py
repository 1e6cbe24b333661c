"""Where the `loreline` command keeps its files and finds the services."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import SettingsConfigDict

from services.runtime.process_settings import EnvironmentSettings

Provider = Literal["catalogue", "embedded", "embedded-llama-cpp", "openai", "tgi"]


class CliSettings(EnvironmentSettings):
    """Read from LORELINE_CLI_*. An address that is set is used instead of the local process started by `up`."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_CLI_")

    home: Path = Path(".loreline")
    """Folder of everything that `loreline up`, `train` and `demo` keep: stores, models, logs."""
    broker_address: str = ""
    """Kafka bootstrap servers of a cluster that runs already."""
    knowledge_address: str = ""
    """host:port of a knowledge service that runs already."""
    embedding_address: str = ""
    """host:port of an embedding service that runs already."""
    features_address: str = ""
    """host:port of a features service that runs already."""
    ranking_address: str = ""
    """host:port of a ranking service that runs already."""
    triton_address: str = ""
    """host:port of Triton's gRPC endpoint, or several, comma-separated: `models promote` proves a version there too."""
    triton_load_timeout_seconds: PositiveFloat = 30.0
    """How long `models promote` waits for Triton to have loaded a version."""
    ranking_metrics_address: str = ""
    """host:port of ranking's metrics, or several, comma-separated, for `models compare`."""
    preferred_ports: bool = True
    """Give local processes their usual ports where these are free; false picks any free ports."""
    items_topic: str = "items"
    """Topic of item events."""
    interactions_topic: str = "interactions"
    """Topic of what users did, and of wishes to write a user's preferences anew."""
    enriched_topic: str = "enriched"
    """Topic that tells of stored knowledge."""
    knowledge_topic: str = "knowledge"
    """Compacted topic of every answer, from which a lost store of knowledge is restored."""
    dead_letter_topic: str = "dead-letters"
    """Topic of records that could not be handled."""
    dead_letter_resolutions_topic: str = "dead-letter-resolutions"
    """Compacted topic that notes which dead letters were replayed or discarded."""
    topic_partitions: PositiveInt = 4
    """Partitions of the topics that `topics create` creates, but for interactions."""
    interactions_partitions: PositiveInt = 4
    """Partitions of the interactions topic."""
    topic_replication: Annotated[int, Field(ge=-1)] = -1
    """Replicas of each topic; -1 means the broker's default."""
    knowledge_provider: Provider = "embedded"
    """Provider that the local updater asks for streamed items: embedded, catalogue, tgi or openai."""
    start_timeout_seconds: PositiveFloat = 90.0
    """How long `up` waits for a process to become ready."""
    stop_timeout_seconds: PositiveFloat = 20.0
    """How long `down` waits for a process before it is killed."""

    @field_validator("home")
    @classmethod
    def _may_be_a_folder(cls, home: Path) -> Path:
        there = next(folder for folder in (home.absolute(), *home.absolute().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"must be a folder that can be written, or made; {there} is none")
        return home

    @property
    def feature_directory(self) -> Path:
        """Feast's registry, Parquet sources and SQLite online store."""
        return self.home.absolute() / "features"

    @property
    def model_registry(self) -> Path:
        """The model versions."""
        return self.home.absolute() / "models"

    @property
    def checkpoint_directory(self) -> Path:
        """States of a training that is not through yet."""
        return self.home.absolute() / "checkpoints"

    @property
    def kept_vectors_file(self) -> Path:
        """Vectors of texts that were encoded for a build of knowledge."""
        return self.home.absolute() / "kept_vectors.sqlite"

    @property
    def run_directory(self) -> Path:
        """Process records, addresses and logs."""
        return self.home.absolute() / "run"

    @property
    def dataset_file(self) -> Path:
        """Which dataset was loaded, and how many items were held out of it."""
        return self.home.absolute() / "dataset.json"

    @property
    def new_items_file(self) -> Path:
        """Items held out of training, one JSON object a line, ready for `loreline items publish`."""
        return self.home.absolute() / "new_items.jsonl"
