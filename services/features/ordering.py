"""Which event may change what: pure rules over one subject's state, in the order of loreline.domain.events.

An event is applied only when it comes after the one that was applied last;
interactions are applied wherever they belong (see histories). Of several answers to one event the one that was written
last stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from loreline.client import pack_item, pack_user
from loreline.domain import Interaction, Item, KnowledgeVectors, PackedItem, PackedUser, Stamp, microseconds
from services.features import histories
from services.scenarios import load_scenario

KEPT_VERSIONS = 2
Augmented = dict[str, npt.NDArray[np.float32]]


class WriteOutcome(Enum):
    """What came of a write; the names are those of loreline.features.v1.WriteOutcome."""

    APPLIED = "APPLIED"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    MISSING_CONTENT = "MISSING_CONTENT"


@dataclass(frozen=True)
class Answer:
    """Which text is stored, when it was written (microseconds since 1970-01-01 UTC), and the encoder of its vector."""

    key: str
    created_us: int
    encoder: str


@dataclass(frozen=True)
class ItemState:
    """What is known of one item's events, and its packed features."""

    content: Stamp
    content_hash: str
    knowledge: Stamp | None  # the content event that the stored knowledge was made from
    packed: PackedItem
    answer: Answer | None = None  # None also where knowledge was stored before answers were told apart

    @cached_property
    def value(self) -> bytes:
        """The packed features as stores keep them."""
        return pack_item(self.packed)


@dataclass(frozen=True)
class UserState:
    """What is known of one user's events, and the packed features. A stamp is None before its first event."""

    history: Stamp | None  # the newest event of the history
    knowledge: Stamp | None
    packed: PackedUser
    answer: Answer | None = None
    events: histories.Events = field(default_factory=histories.Events)

    @cached_property
    def value(self) -> bytes:
        """The packed features as stores keep them."""
        return pack_user(self.packed)


def arrival(stored: Stamp | None, event: Stamp) -> WriteOutcome:
    """Whether an event comes after the stored one, is that one, or comes too late."""
    if stored is None or event.order > stored.order:
        return WriteOutcome.APPLIED
    return WriteOutcome.DUPLICATE if event.event_id == stored.event_id else WriteOutcome.STALE


def with_content(state: ItemState | None, event: Stamp, item: Item) -> tuple[WriteOutcome, ItemState | None]:
    """The item came or changed. Knowledge is kept only where title, scenario and attributes stayed as they were."""
    outcome = arrival(state.content if state else None, event)
    if outcome is not WriteOutcome.APPLIED:
        return outcome, state
    hashed = content_hash(item)
    fields = load_scenario(item.scenario).field_values(item)
    packed = PackedItem(item.item_id, item.scenario, fields, title=item.title)
    if state is None or state.content_hash != hashed:
        return outcome, ItemState(event, hashed, None, packed)
    return outcome, replace(state, content=event, packed=replace(packed, augmented=state.packed.augmented))


def with_removal(state: ItemState | None, event: Stamp, item_id: str) -> tuple[WriteOutcome, ItemState | None]:
    """The item went: a tombstone stays, so that an older upsert cannot bring it back."""
    outcome = arrival(state.content if state else None, event)
    if outcome is not WriteOutcome.APPLIED:
        return outcome, state
    return outcome, ItemState(event, "", None, PackedItem(item_id, "", [], {}, deleted=True))


def with_knowledge(
    state: ItemState | None, event: Stamp, vectors: KnowledgeVectors
) -> tuple[WriteOutcome, ItemState | None]:
    """Knowledge made from the content that `event` stored, or that an event after it left unchanged."""
    if state is None or state.content.order < event.order:
        return WriteOutcome.MISSING_CONTENT, state
    if state.packed.deleted or not _is_about(state, event):
        return WriteOutcome.STALE, state
    outcome, augmented = _answered(state, event, vectors, WriteOutcome.APPLIED)
    if outcome is not WriteOutcome.APPLIED:
        return outcome, state
    packed = replace(state.packed, augmented=augmented)
    return outcome, replace(state, knowledge=event, packed=packed, answer=answer_of(vectors))


def with_history(state: UserState, event: Stamp, packed: PackedUser) -> tuple[WriteOutcome, UserState]:
    """The user's history as a whole, interactions included that came as events; its augmented vectors stay."""
    outcome = arrival(state.history, event)
    if outcome is not WriteOutcome.APPLIED:
        return outcome, state
    packed, events = histories.without_events(replace(packed, augmented=state.packed.augmented))
    return outcome, replace(state, history=event, packed=packed, events=events)


def with_interaction(state: UserState, new: Interaction) -> tuple[WriteOutcome, UserState]:
    """One interaction more, wherever it belongs by time; the newest 512 are kept."""
    event = new.stamp
    if histories.is_known(state.events, event.event_id):
        return WriteOutcome.DUPLICATE, state
    if histories.is_before_full(state.events, event.order):
        return WriteOutcome.STALE, state
    packed, events = histories.with_entry(state.packed, state.events, event.order, new)
    newest = event if arrival(state.history, event) is WriteOutcome.APPLIED else state.history
    return WriteOutcome.APPLIED, replace(state, history=newest, packed=packed, events=events)


def with_preferences(state: UserState, event: Stamp, vectors: KnowledgeVectors) -> tuple[WriteOutcome, UserState]:
    """Preference knowledge of the user; the history stays."""
    outcome, augmented = _answered(state, event, vectors, arrival(state.knowledge, event))
    if outcome is not WriteOutcome.APPLIED:
        return outcome, state
    packed = replace(state.packed, augmented=augmented)
    return outcome, replace(state, knowledge=event, packed=packed, answer=answer_of(vectors))


def with_version(
    augmented: Augmented,
    version: str,
    vector: npt.NDArray[np.float32],
    serving: str = "",
    kept: Collection[str] = (),
) -> Augmented:
    """The augmented vectors with one version's vector set, the newest last.

    Beyond two the oldest are dropped, but never those of the version that is `serving`: after a rollback it is not the
    newest. Those of versions in `kept`, which are of other kinds, stay and do not count.
    """
    aside = {name: values for name, values in augmented.items() if name in kept and name != version}
    others = {name: values for name, values in augmented.items() if name not in {version, serving, *kept}}
    served = {serving: augmented[serving]} if serving in augmented and serving not in aside else {}
    newest = {**others, **served, version: vector}
    return aside | dict(list(newest.items())[-KEPT_VERSIONS:])


def augmented_of(vectors: KnowledgeVectors) -> Augmented:
    """The augmented vectors that fresh knowledge brings: one version's, or none before any promotion."""
    return {} if vectors.augmented is None else {vectors.model_version: vectors.augmented}


def answer_of(vectors: KnowledgeVectors) -> Answer:
    """Which text the vectors were made from."""
    source = vectors.knowledge.provenance
    return Answer(source.key, microseconds(source.created_time), vectors.encoder)


def etag(state: ItemState | UserState) -> str:
    """Names the knowledge that a subject's vectors are of: the event, its answer, the encoder; empty without any."""
    if state.knowledge is None:
        return ""
    answer = state.answer
    named = [*state.knowledge.order, *([answer.key, answer.created_us, answer.encoder] if answer else [])]
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=12).hexdigest()


def content_hash(item: Item) -> str:
    """A hash of all that knowledge is made from."""
    document = [item.scenario, item.title, dict(sorted(item.attributes.items()))]
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def _is_about(state: ItemState, event: Stamp) -> bool:
    """Whether an event's content is the stored one; that of the stored knowledge is, or it would have been cleared."""
    return event.order in {stamp.order for stamp in (state.content, state.knowledge) if stamp}


def _answered(
    state: ItemState | UserState, event: Stamp, vectors: KnowledgeVectors, otherwise: WriteOutcome
) -> tuple[WriteOutcome, Augmented]:
    """What becomes of knowledge that answers the stored event once more, or another one, and the vectors to keep."""
    stored, new = state.answer, answer_of(vectors)
    if state.knowledge is None or event.order != state.knowledge.order:
        return otherwise, augmented_of(vectors)
    if stored is None or (new.created_us, new.key) > (stored.created_us, stored.key):
        return WriteOutcome.APPLIED, augmented_of(vectors)
    if new.created_us < stored.created_us or new.key != stored.key:
        return WriteOutcome.STALE, {}
    if new.encoder != stored.encoder:
        return WriteOutcome.APPLIED, augmented_of(vectors)
    return _adapted(state.packed.augmented, vectors)


def _adapted(augmented: Augmented, vectors: KnowledgeVectors) -> tuple[WriteOutcome, Augmented]:
    """The same vector once more: another version's augmented vector comes beside those of the versions before."""
    if vectors.augmented is None or vectors.model_version in augmented:
        return WriteOutcome.DUPLICATE, {}
    return WriteOutcome.APPLIED, with_version(augmented, vectors.model_version, vectors.augmented)
