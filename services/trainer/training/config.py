"""What a training run can be told, read from a YAML file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loreline.domain import did_you_mean
from services.trainer.data.samples import SplitProtocol

FOLDER = Path(__file__).with_name("configs")
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class InvalidConfig(Exception):
    """The file is missing or breaks a limit; the message names the field and what was expected."""


class TrainingConfig(BaseModel):
    """Sizes and rates of one run. Shares are probabilities, `history_length` counts interactions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["click-through", "re-ranking"] = "click-through"
    """Scores of single candidates; or the order of lists, by a re-ranker that is bound to the active model version."""
    backbone: str
    """A backbone by name; a re-ranker for the task of re-ranking."""
    backbone_options: dict[str, Any] = {}
    """The backbone's own sizes by the names of its constructor; what is not named keeps its default."""
    embedding_width: int = Field(ge=1)
    history_length: int = Field(ge=1, le=512)
    dropout: float = Field(ge=0, lt=1)
    adaptor: Literal["hea", "moe", "mlp"] = "hea"
    """Hybrid experts; or, for ablations, one mixture for both sides, or one plain MLP."""
    adaptor_sides: Literal["both", "item", "user"] = "both"
    """Whose knowledge is used."""
    shared_experts: int = Field(ge=1)
    dedicated_experts: int = Field(ge=1)
    adaptor_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the experts' layers."""
    knowledge_dropout: float = Field(ge=0, lt=1)
    id_dropout: float = Field(ge=0, lt=1)
    protocol: SplitProtocol = "by-time"
    split_seed: int = 1
    """Deals users out to the parts of `by-user`; it is not `seed`, so that seeds share their test part."""
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    gradient_norm: float = Field(gt=0)
    seed: int
    list_loss: Literal["cross-entropy", "attention"] = "cross-entropy"
    """Re-ranking: binary cross entropy of each candidate, or of the list's softmax against its labels' shares."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the attention loss."""
    compile: bool = False
    """Compile the network with torch.compile: pays on long runs, costs minutes before the first step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere; weights are float32 always."""
    memory_map: bool = False
    """Keep the log in files and read the pages that are needed, for a log larger than memory."""


def read_config(name_or_path: str) -> TrainingConfig:
    """The config of that file, or the shipped one of that name. Raises InvalidConfig."""
    return checked(TrainingConfig, *read_document(name_or_path))


def read_document(name_or_path: str) -> tuple[Path, Any]:
    """The file of a config, shipped under that name or at that path, and what it says. Raises InvalidConfig."""
    shipped = FOLDER / f"{name_or_path}.yaml"
    path = shipped if shipped.exists() else Path(name_or_path)
    try:
        return path, yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        names = sorted(config.stem for config in FOLDER.glob("*.yaml"))
        near = did_you_mean(name_or_path, names)
        raise InvalidConfig(
            f"no training config {name_or_path!r}{near}: give a file, or one of: {', '.join(names)}"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{path}: must be YAML: {error}") from error


def checked(kind: type[AnyModel], path: Path, document: object) -> AnyModel:
    """A document as a config of that kind. Raises InvalidConfig naming the file and each field."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise InvalidConfig(f"{path}: {faults}") from error


def varied(config: AnyModel, variations: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, AnyModel]]:
    """Every combination of some fields' values, named by them. Raises InvalidConfig naming the field."""
    for values in itertools.product(*variations.values()):
        chosen = dict(zip(variations, values, strict=True))
        try:
            changed = type(config).model_validate(config.model_dump() | chosen)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise InvalidConfig(faults) from error
        yield ", ".join(f"{name} {value}" for name, value in chosen.items()), changed
