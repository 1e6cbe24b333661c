"""Which event may change what: pure rules over one subject's state.

Events of one subject are ordered by (event time, event id); the id decides between equal times, so that every order
of arrival ends in the same state. An event is applied only when it comes after the one that was applied last.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from loreline.client import KnowledgeVectors, PackedItem, PackedUser, Stamp
from services.scenarios import Item, load_scenario

KEPT_VERSIONS = 2


class Outcome(Enum):
    """What came of a write; the names are those of loreline.features.v1.WriteOutcome."""

    APPLIED = "APPLIED"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    MISSING_CONTENT = "MISSING_CONTENT"


@dataclass(frozen=True)
class ItemState:
    """What is known of one item's events, and its packed features."""

    content: Stamp
    content_hash: str
    knowledge_event_id: str  # of the content event that the stored knowledge was made from; "" = no knowledge
    packed: PackedItem


@dataclass(frozen=True)
class UserState:
    """What is known of one user's events, and the packed features. A stamp is None before its first event."""

    history: Stamp | None
    knowledge: Stamp | None
    packed: PackedUser


def order(stamp: Stamp) -> tuple[float, str]:
    """The key by which a subject's events are ordered."""
    return stamp.event_time.timestamp(), stamp.event_id


def arrival(stored: Stamp | None, event: Stamp) -> Outcome:
    """Whether an event comes after the stored one, is that one, or comes too late."""
    if stored is None or order(event) > order(stored):
        return Outcome.APPLIED
    return Outcome.DUPLICATE if event.event_id == stored.event_id else Outcome.STALE


def with_content(state: ItemState | None, event: Stamp, item: Item) -> tuple[Outcome, ItemState | None]:
    """The item came or changed. Knowledge is kept only where title, scenario and attributes stayed as they were."""
    outcome = arrival(state.content if state else None, event)
    if outcome is not Outcome.APPLIED:
        return outcome, state
    hashed = content_hash(item)
    kept = state if state and state.content_hash == hashed else None
    fields = load_scenario(item.scenario).field_values(item)
    packed = PackedItem(item.item_id, item.scenario, fields, kept.packed.augmented if kept else {})
    return outcome, ItemState(event, hashed, kept.knowledge_event_id if kept else "", packed)


def with_removal(state: ItemState | None, event: Stamp, item_id: str) -> tuple[Outcome, ItemState | None]:
    """The item went: a tombstone stays, so that an older upsert cannot bring it back."""
    outcome = arrival(state.content if state else None, event)
    if outcome is not Outcome.APPLIED:
        return outcome, state
    return outcome, ItemState(event, "", "", PackedItem(item_id, "", [], {}, deleted=True))


def with_knowledge(
    state: ItemState | None, event: Stamp, vectors: KnowledgeVectors
) -> tuple[Outcome, ItemState | None]:
    """Knowledge made from the content that `event` stored. It replaces all vectors of earlier knowledge."""
    if state is None or order(state.content) < order(event):
        return Outcome.MISSING_CONTENT, state
    if order(event) < order(state.content) or state.packed.deleted:
        return Outcome.STALE, state
    if state.knowledge_event_id == event.event_id:
        return Outcome.DUPLICATE, state
    packed = replace(state.packed, augmented=augmented_of(vectors))
    return Outcome.APPLIED, replace(state, knowledge_event_id=event.event_id, packed=packed)


def with_history(state: UserState, event: Stamp, packed: PackedUser) -> tuple[Outcome, UserState]:
    """The user's history as a whole; its augmented vectors stay."""
    outcome = arrival(state.history, event)
    if outcome is not Outcome.APPLIED:
        return outcome, state
    return outcome, replace(state, history=event, packed=replace(packed, augmented=state.packed.augmented))


def with_preferences(state: UserState, event: Stamp, vectors: KnowledgeVectors) -> tuple[Outcome, UserState]:
    """Preference knowledge of the user; the history stays."""
    outcome = arrival(state.knowledge, event)
    if outcome is not Outcome.APPLIED:
        return outcome, state
    packed = replace(state.packed, augmented=augmented_of(vectors))
    return outcome, replace(state, knowledge=event, packed=packed)


def with_version(
    augmented: dict[str, npt.NDArray[np.float32]], version: str, vector: npt.NDArray[np.float32], serving: str = ""
) -> dict[str, npt.NDArray[np.float32]]:
    """The augmented vectors with one version's vector set, the newest last.

    Beyond two the oldest are dropped, but never those of the version that is `serving`: after a rollback it is not the
    newest.
    """
    others = {name: kept for name, kept in augmented.items() if name not in {version, serving}}
    served = {serving: augmented[serving]} if serving in augmented else {}
    newest = {**others, **served, version: vector}
    return dict(list(newest.items())[-KEPT_VERSIONS:])


def augmented_of(vectors: KnowledgeVectors) -> dict[str, npt.NDArray[np.float32]]:
    """The augmented vectors that fresh knowledge brings: one version's, or none before any promotion."""
    return {} if vectors.augmented is None else {vectors.model_version: vectors.augmented}


def content_hash(item: Item) -> str:
    """A hash of all that knowledge is made from."""
    document = [item.scenario, item.title, dict(sorted(item.attributes.items()))]
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
