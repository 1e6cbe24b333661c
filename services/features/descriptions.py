"""What is stored of items and users, for people and for what is made from it. Not for scoring."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from loreline.client import StoredSubject, UserDescription
from loreline.client.messages import item_message, knowledge_of_bytes, vector_of
from loreline.domain import HistoryEntry, Item, Knowledge, Stamp, UserHistory, moment_of
from services.features.ledger import Kind, Ledger
from services.features.ledger_rows import new_user
from services.features.online_store import OnlineStore
from services.features.ordering import ItemState, UserState
from services.runtime.errors import NotFound

PAGE = 500
MOST_ENTRY_BYTES = 8 * 1024 * 1024  # of the items in one user's history: the whole must fit into a message


@dataclass(frozen=True)
class StoredKnowledge:
    """A subject's knowledge, when it was stored, and its vector (K,) with the encoder; None and empty without any.

    The vector is empty too where it was not asked for.
    """

    knowledge: Knowledge | None = None
    stored: datetime | None = None
    encoder: str = ""
    vector: npt.NDArray[np.float32] = field(default_factory=lambda: vector_of(b""))


@dataclass(frozen=True)
class ItemRecord:
    """Everything stored for one item."""

    item: Item
    content: Stamp
    content_stored: datetime
    known: StoredKnowledge
    model_versions: list[str]


class Descriptions:
    """Reads what the online store and the ledger hold of items and users."""

    def __init__(self, store: OnlineStore, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger

    def item(self, item_id: str) -> ItemRecord:
        """Everything stored for one item. Raises NotFound when it was never stored or was deleted."""
        state = self._ledger.items([item_id]).get(item_id)
        profile = self._store.read("item_profile", [item_id])[0]
        if state is None or state.packed.deleted or profile["title"] is None:
            raise NotFound("item", item_id)
        known = self._known_of("item", item_id, state)
        stored = moment_of(profile["stored_time_us"])
        return ItemRecord(_item(item_id, profile), state.content, stored, known, list(state.packed.augmented))

    def user(self, user_id: str, most_entries: int) -> UserDescription:
        """The newest interactions and what is known. Raises NotFound when nothing is stored of the user."""
        stored = self._ledger.users([user_id]).get(user_id)
        attributes = self._store.read("user_profile", [user_id])[0]["attributes_json"]
        if stored is None and attributes is None:
            raise NotFound("user", user_id)
        state = stored or new_user(user_id)
        known = self._known_of("user", user_id, state)
        return UserDescription(
            user=UserHistory(user_id, self._entries(state, most_entries), json.loads(attributes or "{}")),
            history_event=state.history,
            interactions_since_knowledge=_since_knowledge(state),
            knowledge=known.knowledge,
            knowledge_event=state.knowledge,
            knowledge_stored_time=known.stored,
            encoder=known.encoder,
            model_versions=list(state.packed.augmented),
            vector=known.vector,
        )

    def subjects(self, kind: Kind, after_id: str, scenario: str) -> Iterator[list[StoredSubject]]:
        """Pages of at most 500 stored subjects in the order of their ids; `scenario` is the items', or the knowledge's.

        What changes while the pages are read is seen as it is when its page is.
        """
        pages = self._item_pages if kind == "item" else self._user_pages
        yield from filter(None, pages(after_id, scenario))

    def _item_pages(self, after_id: str, scenario: str) -> Iterator[list[StoredSubject]]:
        while states := self._ledger.items_after(after_id, PAGE):
            yield self._items(states, scenario)
            after_id = states[-1].packed.item_id

    def _user_pages(self, after_id: str, scenario: str) -> Iterator[list[StoredSubject]]:
        while states := self._ledger.users_after(after_id, PAGE):
            yield self._users(states, scenario)
            after_id = states[-1].packed.user_id

    def _items(self, states: Sequence[ItemState], scenario: str) -> list[StoredSubject]:
        living = {state.packed.item_id: state for state in states if _is_in(state, scenario)}
        profiles = dict(zip(living, self._store.read("item_profile", list(living)), strict=True))
        known = self._known("item", [item_id for item_id, state in living.items() if state.knowledge])
        return [
            _subject(item_id, state, state.content, known, _item(item_id, profiles[item_id]))
            for item_id, state in living.items()
            if profiles[item_id]["title"] is not None
        ]

    def _users(self, states: Sequence[UserState], scenario: str) -> list[StoredSubject]:
        known = self._known("user", [state.packed.user_id for state in states if state.knowledge])
        subjects = [_subject(state.packed.user_id, state, state.history, known) for state in states]
        return [one for one in subjects if not scenario or _scenario(one.knowledge) == scenario]

    def _entries(self, state: UserState, most: int) -> list[HistoryEntry]:
        item_ids, ratings = state.packed.item_ids[-most:], state.packed.ratings[-most:]
        items = self._living_items(list(dict.fromkeys(item_ids)))
        entries = [
            HistoryEntry(items[item_id], rating or None)
            for item_id, rating in zip(item_ids, ratings, strict=True)
            if item_id in items
        ]
        sizes = itertools.accumulate(item_message(entry.item).ByteSize() for entry in reversed(entries))
        return entries[len(entries) - sum(size <= MOST_ENTRY_BYTES for size in sizes) :]

    def _living_items(self, item_ids: Sequence[str]) -> dict[str, Item]:
        states = self._ledger.items(item_ids)
        living = [item_id for item_id in item_ids if item_id in states and not states[item_id].packed.deleted]
        profiles = zip(living, self._store.read("item_profile", living), strict=True)
        return {item_id: _item(item_id, profile) for item_id, profile in profiles if profile["title"] is not None}

    def _known_of(self, kind: Kind, subject_id: str, state: ItemState | UserState) -> StoredKnowledge:
        known = self._known(kind, [subject_id] if state.knowledge else []).get(subject_id)
        if known is None:
            return StoredKnowledge()
        stored = self._store.read(f"{kind}_knowledge", [subject_id], ["vector"])[0]["vector"]
        return replace(known, vector=vector_of(stored or b""))

    def _known(self, kind: Kind, ids: Sequence[str]) -> dict[str, StoredKnowledge]:
        sources = self._store.read(f"{kind}_provenance", ids)
        vectors = self._store.read(f"{kind}_knowledge", ids, ["encoder"])
        return {
            subject: StoredKnowledge(
                knowledge_of_bytes(source["knowledge"]), moment_of(source["stored_time_us"]), vector["encoder"] or ""
            )
            for subject, source, vector in zip(ids, sources, vectors, strict=True)
            if source["knowledge"] is not None
        }


def _item(item_id: str, profile: Mapping[str, Any]) -> Item:
    return Item(item_id, profile["scenario"], profile["title"], json.loads(profile["attributes_json"]))


def _is_in(state: ItemState, scenario: str) -> bool:
    return not state.packed.deleted and scenario in {"", state.packed.scenario}


def _scenario(knowledge: Knowledge | None) -> str | None:
    return knowledge.provenance.scenario if knowledge else None


def _since_knowledge(state: UserState) -> int:
    return state.events.after(state.knowledge.order) if state.knowledge else len(state.events.ids)


def _subject(
    subject_id: str,
    state: ItemState | UserState,
    event: Stamp | None,
    known: Mapping[str, StoredKnowledge],
    item: Item | None = None,
) -> StoredSubject:
    found = known.get(subject_id, StoredKnowledge())
    return StoredSubject(
        subject_id=subject_id,
        item=item,
        event=event,
        knowledge=found.knowledge,
        knowledge_event=state.knowledge if found.knowledge else None,
        encoder=found.encoder,
        model_versions=list(state.packed.augmented),
    )
