"""A budget of tokens an hour, in all and for each scenario, whose spending a restart does not forget."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from services.knowledge.providers import ProviderError
from services.runtime.sqlite_file import SqliteFile

MINUTES = 60  # the hour slides by whole minutes
ALL = "*"  # the budget of all scenarios together: no scenario can have this name
SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens_spent (
    minute INTEGER NOT NULL,
    scenario TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (minute, scenario)
) WITHOUT ROWID;
"""


class BudgetSpent(ProviderError):
    """The question was not asked because its tokens might exceed a budget; a retry later may succeed."""

    reason = "BUDGET_SPENT"


@dataclass(frozen=True)
class Reservation:
    """Tokens that a question may need, held until it is settled."""

    scenario: str
    tokens: int


class TokenBudget:
    """Admits questions while their estimates fit into what is left of the last 60 minutes. Thread-safe.

    A question larger than a whole budget is admitted when nothing was spent within the hour, so that it is not put off
    for ever; a budget of 0 admits none. Limits in tokens; None: no limit. Raises DependencyUnavailable (the store).
    """

    def __init__(
        self,
        database: SqliteFile,
        total: int | None,
        by_scenario: Mapping[str, int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        database.create(SCHEMA)
        self._database, self._clock, self._lock = database, clock, threading.Lock()
        self._limits = dict(by_scenario) | ({} if total is None else {ALL: total})
        self._reserved: Counter[str] = Counter()

    @property
    def names(self) -> list[str]:
        """The scenarios that have a budget, and `*` when there is one for all."""
        return list(self._limits)

    def reserve(self, scenario: str, tokens: int) -> Reservation:
        """Hold tokens for a question. Raises BudgetSpent when they do not fit."""
        with self._lock:
            for name in self._budgets_of(scenario):
                self._admit(name, tokens)
            self._reserved.update({scenario: tokens, ALL: tokens})
            return Reservation(scenario, tokens)

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Give a reservation back and note what was spent instead."""
        minute = self._minute()
        with self._lock:
            self._reserved.subtract({reservation.scenario: reservation.tokens, ALL: reservation.tokens})
            if tokens:
                self._database.write("DELETE FROM tokens_spent WHERE minute <= ?", (minute - 2 * MINUTES,))
                self._database.write(
                    "INSERT INTO tokens_spent VALUES (?, ?, ?) "
                    "ON CONFLICT (minute, scenario) DO UPDATE SET tokens = tokens + excluded.tokens",
                    (minute, reservation.scenario, tokens),
                )

    def left(self, name: str) -> int:
        """Tokens that can still be reserved of a budget of `names`."""
        with self._lock:
            return max(0, self._limits[name] - self._spent(name) - self._reserved[name])

    def _admit(self, name: str, tokens: int) -> None:
        limit, gone = self._limits[name], self._spent(name) + self._reserved[name]
        if gone + tokens > limit and (gone or not limit):
            whose = "all scenarios" if name == ALL else f"the scenario {name}"
            raise BudgetSpent(f"the budget of {limit} tokens an hour of {whose} has {max(0, limit - gone)} left")

    def _budgets_of(self, scenario: str) -> Iterator[str]:
        return (name for name in (scenario, ALL) if name in self._limits)

    def _spent(self, name: str) -> int:
        rows = self._database.read(
            "SELECT coalesce(sum(tokens), 0) FROM tokens_spent WHERE minute > ? AND ? IN ('*', scenario)",
            (self._minute() - MINUTES, name),
        )
        return int(rows[0][0])

    def _minute(self) -> int:
        return int(self._clock() // 60)
