"""A SQLite file in which a process keeps what must outlive it: one connection that threads share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.runtime.errors import DependencyUnavailable

BUSY_TIMEOUT_SECONDS = 5.0
Value = str | int | float | bytes


class SqliteFile:
    """One file, in WAL mode. Every method raises DependencyUnavailable, naming `what` it keeps, when that fails."""

    def __init__(self, path: Path, what: str) -> None:
        self._lock, self._what = threading.Lock(), what
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last writes, no more

    def create(self, schema: str) -> None:
        """Make the tables that are missing."""
        with self._lock, self._errors():
            self._connection.executescript(schema)

    def add_column(self, table: str, declaration: str) -> None:
        """Add a column that a file of an earlier version lacks; its rows have the default."""
        with self._lock, self._errors():
            present = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            if declaration.split()[0] not in present:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {declaration}")

    def read(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    def write(self, statement: str, *rows: Sequence[Value]) -> int:
        """Run a statement once for each row, all or none of them; returns how many rows were changed."""
        with self._lock, self._errors(), self._connection:
            return self._connection.executemany(statement, rows).rowcount

    def close(self) -> None:
        """Close the file; call it when nothing uses it any more."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DependencyUnavailable(self._what, str(error)) from error
