"""The ledger: which events had an effect on which subject, in which order, and each one's newest packed features.

It is written after the online store, so that an event whose effect was only half stored is handled again, and read by
Watch, whose epoch and sequence numbers are the ledger's. Items and users have sequence numbers of their own.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from services.features.ledger_rows import Row, item_row, item_state, user_row, user_state
from services.features.ordering import ItemState, UserState, etag

Kind = Literal["item", "user"]
KINDS: tuple[Kind, ...] = ("item", "user")


class Hold(Protocol):
    """Some subjects that nobody else writes meanwhile."""

    def check(self) -> None:
        """Raises DependencyUnavailable when the hold is over, or nearly: nothing may be written then."""


class Ledger(ABC):
    """Reads and writes states of subjects. Safe to share between threads.

    Every method raises DependencyUnavailable when what keeps the ledger does not answer.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._draining = False

    @abstractmethod
    def close(self) -> None:
        """Let go of what keeps it. Watches must have ended."""

    def end_watches(self) -> None:
        """Wake all who wait, for the last time: the process drains."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    @property
    def draining(self) -> bool:
        """Whether watches have to end."""
        return self._draining

    @abstractmethod
    def exclusive(self, kind: Kind, ids: Iterable[str]) -> AbstractContextManager[Hold]:
        """Keep all others from writing some subjects, from before their states are read until they are put."""

    def items(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """States of the items that the ledger knows, tombstones included."""
        return {row[0]: item_state(row) for row in self._rows("item", item_ids)}

    def users(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """States of the users that the ledger knows."""
        return {row[0]: user_state(row) for row in self._rows("user", user_ids)}

    def items_after(self, item_id: str, most: int) -> list[ItemState]:
        """The next items in the order of their ids, tombstones included."""
        return [item_state(row) for row in self._following("item", item_id, most)]

    def users_after(self, user_id: str, most: int) -> list[UserState]:
        """The next users in the order of their ids."""
        return [user_state(row) for row in self._following("user", user_id, most)]

    def put_items(self, states: Iterable[ItemState], hold: Hold | None = None) -> None:
        """Store states together, or none, each under a sequence number of its own, and wake the watchers.

        With a hold on them that has ended, DependencyUnavailable is raised instead.
        """
        self._put("item", [item_row(state) for state in states], hold)

    def put_users(self, states: Iterable[UserState], hold: Hold | None = None) -> None:
        """As `put_items`; watchers of items sleep on."""
        self._put("user", [user_row(state) for state in states], hold)

    def etags(self, kind: Kind, ids: Sequence[str]) -> dict[str, str]:
        """What names the knowledge of those of some subjects that have any, in their order."""
        states = self.items(ids) if kind == "item" else self.users(ids)
        return {subject: etag(states[subject]) for subject in ids if subject in states and states[subject].knowledge}

    @property
    @abstractmethod
    def epoch(self) -> str:
        """Names this ledger among those there were before it: a sequence number has a meaning in its epoch alone."""

    @property
    @abstractmethod
    def newest_item(self) -> int:
        """The sequence number of the item that was stored last; 0 where there is none."""

    @abstractmethod
    def item_page(self, after_sequence: int, most: int) -> list[tuple[int, bytes]]:
        """The next items, at most `most`, as (sequence, packed) in the order in which they were stored."""

    @abstractmethod
    def items_changed_after(self, sequence: int) -> int:
        """How many items have their newest state after a sequence number."""

    def wait_for_change(self, after_sequence: int, timeout_seconds: float) -> bool:
        """Wait until an item is stored after a sequence number or watches have to end; False at the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._draining or self._heard_of() > after_sequence, timeout_seconds)

    @abstractmethod
    def count(self, kind: Kind) -> int:
        """How many subjects the ledger knows, tombstones included."""

    @abstractmethod
    def subjects_with_knowledge(self, kind: Kind, lacking_version: str) -> list[str]:
        """Ids, in order, of living subjects with knowledge, of all or of those without a version's augmented vector."""

    @abstractmethod
    def bulk_stamps(self, kind: Kind) -> dict[str, tuple[int, str]]:
        """Content time (microseconds) and knowledge event of every subject: what seeding compares with."""

    @abstractmethod
    def width(self, encoder: str) -> int:
        """The width of an encoder's vectors; 0 where none was stored."""

    @abstractmethod
    def keep_width(self, encoder: str, width: int) -> None:
        """Let an encoder's vectors have this width from now on."""

    @abstractmethod
    def _rows(self, kind: Kind, ids: Sequence[str]) -> Iterable[Row]:
        """Rows of STATE_COLUMNS of those of some subjects that the ledger knows."""

    @abstractmethod
    def _following(self, kind: Kind, after: str, most: int) -> Iterable[Row]:
        """Such rows of the next subjects in the order of their ids."""

    @abstractmethod
    def _put(self, kind: Kind, rows: Sequence[Row], hold: Hold | None) -> None:
        """Store rows of COLUMNS."""

    @abstractmethod
    def _heard_of(self) -> int:
        """The newest sequence number of an item that this process has heard of; asks nobody."""
