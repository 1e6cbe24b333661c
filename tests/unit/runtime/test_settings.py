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
from services.runtime.process_settings import UNKNOWN
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


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_GRPC",
        "PORT",
        "PORT_50051_TCP",
        "PORT_50051_TCP_ADDR",
        "PORT_50051_TCP_PORT",
        "PORT_50051_TCP_PROTO",
    ],
)
def test_what_kubernetes_tells_of_a_service_of_the_same_name_is_no_mistyped_setting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It gives every container such variables, where the service is called loreline-cli."""
    monkeypatch.setenv(f"LORELINE_CLI_{name}", "tcp://10.0.0.1:50051")
    assert CliSettings().items_topic == "items"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda kind: kind.__name__)
def test_a_variable_that_names_no_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[BaseSettings]
) -> None:
    """By every process and the command, whatever else is missing."""
    monkeypatch.setattr("sys.argv", ["backfill"])
    monkeypatch.setenv(f"{settings.model_config['env_prefix']}LOG_LEVLE", "DEBUG")
    with pytest.raises(ValidationError) as raised:
        settings()
    assert [(fault["loc"], fault["type"]) for fault in raised.value.errors()] == [(("log_levle",), UNKNOWN)]
