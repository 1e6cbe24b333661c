"""Users: packed reads, ordered writes of history and preference knowledge, and what a promotion needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from loreline.client import pack_user, unpack_user
from loreline.client.messages import knowledge_bytes, vector_bytes
from loreline.domain import Interaction, KnowledgeVectors, PackedUser, Stamp, microseconds
from services.features import ordering
from services.features.item_features import VectorPage, check_widths, vector_pages
from services.features.ledger import Hold, Ledger
from services.features.ledger_rows import new_user
from services.features.online_store import OnlineStore
from services.features.ordering import UserState, WriteOutcome


@dataclass(frozen=True)
class History:
    """A user's whole bounded history, oldest first, in columns of one length."""

    item_ids: list[str]
    ratings: list[float]
    times: list[int]


@dataclass(frozen=True)
class UserRead:
    """One user's packed features, and the status of history and knowledge."""

    user: PackedUser
    history_status: str
    knowledge_status: str


class UserFeatures:
    """Users over the online store and the ledger. Writes take turns."""

    def __init__(self, store: OnlineStore, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger

    def get(self, user_id: str) -> UserRead:
        """One user; an unknown one has empty features whose statuses say so."""
        value, status = self._store.read_packed("user_packed", [user_id])[0]
        if value is None or status == "TOO_OLD":
            missing = status if status == "TOO_OLD" else "NOT_FOUND"  # Feast's Redis store says PRESENT of no value
            return UserRead(PackedUser(user_id), missing, missing)
        user = unpack_user(value)
        return UserRead(user, "PRESENT" if user.item_ids else "NULL", "PRESENT" if user.augmented else "NULL")

    def put_history(self, user_id: str, stamp: Stamp, history: History) -> WriteOutcome:
        """Store the history as a whole unless a newer one is stored."""
        packed = PackedUser(user_id, history.item_ids, history.ratings, history.times)
        with self._ledger.exclusive("user", [user_id]) as hold:
            outcome, state = ordering.with_history(self._state(user_id), stamp, packed)
            if outcome is WriteOutcome.APPLIED:
                self._store_histories([state], hold)
        return outcome

    def append(self, interactions: Sequence[Interaction]) -> list[WriteOutcome]:
        """Add interactions in order; one outcome each. Raises DependencyUnavailable, and then all may be sent again.

        A batch is one write of each view and one ledger transaction, whatever the number of users.
        """
        user_ids = list({new.user_id for new in interactions})
        with self._ledger.exclusive("user", user_ids) as hold:
            states = self._ledger.users(user_ids)
            outcomes, changed = [], {}
            for new in interactions:
                outcome, state = ordering.with_interaction(states.get(new.user_id) or new_user(new.user_id), new)
                outcomes.append(outcome)
                if outcome is WriteOutcome.APPLIED:
                    states[new.user_id] = changed[new.user_id] = state
            self._store_histories(list(changed.values()), hold)
        return outcomes

    def put_knowledge(self, user_id: str, stamp: Stamp, vectors: KnowledgeVectors) -> WriteOutcome:
        """Store preference knowledge unless newer one is stored. Raises InvalidRequest, DependencyUnavailable."""
        with self._ledger.exclusive("user", [user_id]) as hold:
            check_widths(self._ledger, [("knowledge", vectors)])
            outcome, state = ordering.with_preferences(self._state(user_id), stamp, vectors)
            if outcome is WriteOutcome.APPLIED:
                hold.check()
                row = {"user_id": user_id, "encoder": vectors.encoder, "vector": vector_bytes(vectors.vector)}
                self._store.write("user_knowledge", [row])
                self._store.write("user_provenance", [_provenance_row(user_id, stamp, vectors)])
                self._store_packed([state], hold)
        return outcome

    def vectors(self, lacking_version: str) -> Iterator[VectorPage]:
        """Pages of stored knowledge vectors, of all users or of those without a version's augmented vector."""
        yield from vector_pages(self._store, self._ledger, "user", lacking_version)

    def put_augmented(
        self,
        version: str,
        user_ids: Sequence[str],
        etags: Sequence[str],
        vectors: npt.NDArray[np.float32],
        serving: str = "",
        kept: Collection[str] = (),
    ) -> int:
        """Store (N, A) augmented vectors of one version, where the knowledge is still that which `etags` name."""
        with self._ledger.exclusive("user", user_ids) as hold:
            known = self._ledger.users(user_ids)
            states = [
                _with_version(state, version, vector, serving, kept)
                for user_id, etag, vector in zip(user_ids, etags, vectors, strict=True)
                if (state := known.get(user_id)) and state.knowledge and ordering.etag(state) == etag
            ]
            hold.check()
            self._store_packed(states, hold)
        return len(states)

    def _state(self, user_id: str) -> UserState:
        return self._ledger.users([user_id]).get(user_id, new_user(user_id))

    def _store_histories(self, states: Sequence[UserState], hold: Hold) -> None:
        hold.check()
        self._store.write("user_history", [_history_row(state) for state in states])
        self._store_packed(states, hold)

    def _store_packed(self, states: Sequence[UserState], hold: Hold) -> None:
        rows = [{"user_id": state.packed.user_id, "packed": state.value} for state in states]
        self._store.write("user_packed", rows)
        self._ledger.put_users(states, hold)


def _with_version(
    state: UserState, version: str, vector: npt.NDArray[np.float32], serving: str, kept: Collection[str]
) -> UserState:
    augmented = ordering.with_version(state.packed.augmented, version, vector, serving, kept)
    return replace(state, packed=replace(state.packed, augmented=augmented))


def _history_row(state: UserState) -> dict[str, Any]:
    value = pack_user(replace(state.packed, augmented={})) if state.packed.augmented else state.value
    event_id = state.history.event_id if state.history else ""
    return {"user_id": state.packed.user_id, "packed": value, "event_id": event_id}


def _provenance_row(user_id: str, stamp: Stamp, vectors: KnowledgeVectors) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "knowledge": knowledge_bytes(vectors.knowledge),
        "event_id": stamp.event_id,
        "stored_time_us": microseconds(datetime.now(UTC)),
    }
