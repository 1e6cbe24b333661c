"""What a training run can be told, read from a YAML file."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).with_name("configs")


class InvalidConfig(Exception):
    """The file is missing or breaks a limit; the message names the field and what was expected."""


class TrainingConfig(BaseModel):
    """Sizes and rates of one run. Shares are probabilities, `history_length` counts interactions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    embedding_width: int = Field(ge=1)
    history_length: int = Field(ge=1, le=512)
    dropout: float = Field(ge=0, lt=1)
    shared_experts: int = Field(ge=1)
    dedicated_experts: int = Field(ge=1)
    knowledge_dropout: float = Field(ge=0, lt=1)
    id_dropout: float = Field(ge=0, lt=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    gradient_norm: float = Field(gt=0)
    seed: int


def read_config(name_or_path: str) -> TrainingConfig:
    """The config of that file, or the shipped one of that name. Raises InvalidConfig."""
    shipped = FOLDER / f"{name_or_path}.yaml"
    path = shipped if shipped.exists() else Path(name_or_path)
    try:
        return TrainingConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        names = ", ".join(sorted(config.stem for config in FOLDER.glob("*.yaml")))
        raise InvalidConfig(f"no training config {name_or_path!r}: give a file, or one of: {names}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise InvalidConfig(f"{path}: {faults}") from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{path}: must be YAML: {error}") from error
