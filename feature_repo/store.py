"""Opens Feast's store of one feature directory, applies the definitions, and materialises what was bulk-loaded."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import feature_repo.feast_import  # noqa: F401

from feast import FeatureStore

from feature_repo.feature_definitions import (
    DIRECTORY_VARIABLE,
    SCHEMAS,
    entity_of,
    feature_views,
    item,
    source_path,
    user,
)

CONFIGURATIONS = {
    "sqlite": Path(__file__).with_name("feature_store.yaml"),
    "redis": Path(__file__).with_name("feature_store_redis.yaml"),
}
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

__all__ = ["CONFIGURATIONS", "SCHEMAS", "apply_definitions", "entity_of", "materialise", "open_store", "source_path"]


def open_store(directory: Path, online_store: str = "sqlite") -> FeatureStore:
    """The store whose files are under `directory`. Raises KeyError for an online store not in CONFIGURATIONS."""
    (directory / "offline").mkdir(parents=True, exist_ok=True)
    with _environment_variable(DIRECTORY_VARIABLE, str(directory.absolute())):  # its configuration names files by it
        return FeatureStore(fs_yaml_file=CONFIGURATIONS[online_store])


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def apply_definitions(store: FeatureStore, directory: Path) -> None:
    """Bring the registry and the online store's tables up to the definitions. A second call changes nothing.

    SQLite's file is put in WAL mode, which stays with the file: readers and a writer do not wait for each other then.
    """
    store.apply([item, user, *feature_views(directory)])
    if store.config.online_store.type == "sqlite":
        with closing(sqlite3.connect(store.config.online_store.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")


def materialise(store: FeatureStore, directory: Path, views: Sequence[str] = tuple(SCHEMAS)) -> list[str]:
    """Copy the newest row of each subject to the online store; returns the views that had a source file."""
    present = [view for view in views if source_path(directory, view).exists()]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # Feast prints its own progress bars
        store.materialize(BEGINNING, datetime.now(UTC) + timedelta(days=1), feature_views=present)
    return present
