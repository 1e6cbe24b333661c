"""Writes the tables of docs/deploying.md from the settings classes: `make settings-tables`."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from services.cli.settings import CliSettings
from services.embedding.settings import BackfillSettings, EmbeddingSettings
from services.features.settings import FeaturesSettings
from services.knowledge.settings import KnowledgeSettings
from services.ranking.settings import RankingSettings
from services.trainer.settings import TrainerSettings
from services.updater.settings import UpdaterSettings

PAGE = Path(__file__).parent / "deploying.md"
SETTINGS: list[type[BaseSettings]] = [
    KnowledgeSettings,
    EmbeddingSettings,
    BackfillSettings,
    FeaturesSettings,
    UpdaterSettings,
    RankingSettings,
    TrainerSettings,
    CliSettings,
]


def with_tables(page: str) -> str:
    """The page with the table of every settings class as the class is now."""
    for kind in SETTINGS:
        heading = re.escape(f"`{kind.model_config['env_prefix']}...`")
        page, found = re.subn(
            rf"({heading}\n\n)(?:\|[^\n]*\n)+", lambda match, kind=kind: match[1] + _table(kind), page
        )
        if found != 1:
            raise ValueError(f"{PAGE.name}: must hold one table under {heading}, holds {found}")
    return page


def _table(kind: type[BaseSettings]) -> str:
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {_meaning(field)} |" for name, field in kind.model_fields.items()
    ]
    return "\n".join(["| name | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**must be set**"
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    return "unset" if value is None else f"`{value}`" if str(value) and value != () else "empty"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
