"""Settings of the training job, read from LORELINE_TRAINER_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.runtime.logs import LogLevel
from services.runtime.process_settings import EnvironmentSettings


class TrainerSettings(EnvironmentSettings):
    """One frozen set of settings; what has no default must be given."""

    model_config = SettingsConfigDict(env_prefix="LORELINE_TRAINER_")

    feature_directory: Path
    """Feast's registry and Parquet sources, with knowledge loaded."""
    model_registry: Path
    """Where the trained version is registered."""
    dataset: str = "movielens-100k"
    """Name of the dataset that was loaded."""
    dataset_paths: tuple[Path, ...] = ()
    """Files or folders of a dataset that is not fetched, as a JSON list."""
    dataset_options: dict[str, str] = Field(default_factory=dict)
    """Options of the dataset by name, as a JSON object."""
    held_out_items: int = Field(default=40, ge=0)
    """How many of the newest items were kept out of the load, to be streamed in later."""
    config: str = "din"
    """Name of a shipped training config, or the path of one."""
    checkpoint_directory: Path | None = None
    """Where the state of an unfinished run is kept; the same run started again goes on from it. Unset keeps none."""
    checkpoint_steps: int = Field(default=0, ge=0)
    """Steps after which a checkpoint is written too, besides the one after each epoch; 0 writes no others."""
    tensorboard_directory: Path | None = None
    """Where metrics are written for TensorBoard. Unset writes none."""
    log_level: LogLevel = "INFO"
    """Lowest level that is logged."""
