"""Settings of every process and of the command: a number that cannot be right is refused at the start."""

from __future__ import annotations

import typing

import pytest
from annotated_types import Ge, Gt
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.cli.settings import CliSettings
from services.embedding.settings import BackfillSettings, EmbeddingSettings
from services.features.settings import FeaturesSettings
from services.knowledge.settings import KnowledgeSettings
from services.ranking.settings import RankingSettings
from services.trainer.settings import TrainerSettings
from services.updater.settings import UpdaterSettings

SETTINGS: list[type[BaseSettings]] = [
    CliSettings,
    BackfillSettings,
    EmbeddingSettings,
    FeaturesSettings,
    KnowledgeSettings,
    RankingSettings,
    TrainerSettings,
    UpdaterSettings,
]


def leaves(annotation: object) -> list[object]:
    """The types and bounds that a field's annotation is made of."""
    parts = [*typing.get_args(annotation), *getattr(annotation, "__metadata__", ())]
    return [leaf for part in parts for leaf in leaves(part)] if typing.get_args(annotation) else [annotation]


def is_bounded(field: FieldInfo) -> bool:
    found = [*field.metadata, *leaves(field.annotation)]
    return any(isinstance(one, Ge | Gt) for one in found)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda kind: kind.__name__)
def test_every_number_has_a_lower_bound(settings: type[BaseSettings]) -> None:
    """A batch of 0 or -3 tries would wait for ever, or never."""
    numbers = {n: f for n, f in settings.model_fields.items() if {int, float} & set(leaves(f.annotation))}
    assert [name for name, field in numbers.items() if not is_bounded(field)] == []


@pytest.mark.parametrize(
    ("name", "value"), [("content_batch_records", 0), ("max_attempts", -3), ("knowledge_batch_records", 257)]
)
def test_the_updater_names_the_number_that_is_out_of_bounds(name: str, value: int) -> None:
    """Before it joins a group."""
    nowhere = dict.fromkeys(["listen_address", "bootstrap_servers", "knowledge_address"], "127.0.0.1:1")
    nowhere |= dict.fromkeys(["embedding_address", "features_address"], "127.0.0.1:1")
    with pytest.raises(ValidationError, match=name):
        UpdaterSettings(**nowhere, **{name: value})  # type: ignore[arg-type]


def test_a_ledger_in_redis_needs_its_features_there() -> None:
    """Two processes that agree on what is new, over two stores, would each have half of it."""
    given = {"listen_address": "127.0.0.1:1", "feature_directory": "features", "ledger": "redis"}
    with pytest.raises(ValidationError, match=r"ledger\n.*redis needs online_store=redis"):
        FeaturesSettings(**given)  # type: ignore[arg-type]
    assert FeaturesSettings(**given, online_store="redis").ledger == "redis"  # type: ignore[arg-type]
