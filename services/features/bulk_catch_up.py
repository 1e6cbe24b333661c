"""Takes into the ledger what was bulk-loaded past the service: the rows of Feast's offline sources.

Run at start. A subject is taken when the ledger lacks it or holds an older event, and knowledge when the ledger has
none; so a restart changes nothing, and a later bulk load is picked up by the next start. A user's knowledge is taken
beside a newer history too, an item's only beside the content that it was made from.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import structlog

from feature_repo.store import source_path
from loreline.client import unpack_item, unpack_user
from loreline.client.messages import knowledge_of_bytes
from loreline.domain import Item, Stamp, microseconds
from services.features import histories
from services.features.ledger import Kind, Ledger
from services.features.ordering import Answer, Augmented, ItemState, UserState, content_hash

State = TypeVar("State", ItemState, UserState)
log = structlog.get_logger(__name__)


def seed(ledger: Ledger, directory: Path) -> None:
    """Bring the ledger up to the offline sources under the feature directory."""
    items, users = _new_items(ledger, directory), _new_users(ledger, directory)
    ledger.put_items(items)
    ledger.put_users(users)
    log.info("ledger seeded", items=len(items), users=len(users))


class _BulkKnowledge:
    """Which event the bulk-loaded knowledge of a subject answers, and which answer it is."""

    def __init__(self, directory: Path, entity: Kind) -> None:
        provenance = _newest(directory, f"{entity}_provenance", entity)
        self._events, self._times = _column(provenance, "event_id"), _column(provenance, "event_timestamp")
        self._texts = _column(provenance, "knowledge")
        self._encoders = _column(_newest(directory, f"{entity}_knowledge", entity, "encoder"), "encoder")

    def __contains__(self, subject: str) -> bool:
        return subject in self._events

    def of(self, subject: str) -> tuple[Stamp | None, Answer | None]:
        """The event and the answer; two times None where there is no knowledge."""
        if subject not in self:
            return None, None
        source = knowledge_of_bytes(self._texts[subject]).provenance
        answer = Answer(source.key, microseconds(source.created_time), self._encoders.get(subject, ""))
        stamp = Stamp(self._events[subject], self._times[subject].to_pydatetime())
        return stamp, answer if answer.encoder else None


def _new_items(ledger: Ledger, directory: Path) -> list[ItemState]:
    packed, profile = _newest(directory, "item_packed", "item"), _newest(directory, "item_profile", "item")
    rows, bulk = packed.join(profile, rsuffix="_profile"), _BulkKnowledge(directory, "item")
    newer, lacking = _wanted(ledger, "item", rows, bulk)
    states = [_item_state(_row(rows, item_id), *bulk.of(item_id)) for item_id in newer]
    bulk_packed = _column(packed.loc[lacking], "packed") if lacking else {}
    return states + [
        _with_knowledge(state, bulk, unpack_item(bulk_packed[item_id]).augmented)
        for item_id, state in ledger.items(lacking).items()
    ]


def _new_users(ledger: Ledger, directory: Path) -> list[UserState]:
    packed, history = _newest(directory, "user_packed", "user"), _newest(directory, "user_history", "user")
    rows, bulk = packed.join(history, rsuffix="_history"), _BulkKnowledge(directory, "user")
    newer, lacking = _wanted(ledger, "user", rows, bulk)
    states = [_user_state(_row(rows, user_id), *bulk.of(user_id)) for user_id in newer]
    bulk_packed = _column(packed.loc[lacking], "packed") if lacking else {}
    return states + [
        _with_knowledge(state, bulk, unpack_user(bulk_packed[user_id]).augmented)
        for user_id, state in ledger.users(lacking).items()
    ]


def _wanted(ledger: Ledger, kind: Kind, rows: pd.DataFrame, bulk: _BulkKnowledge) -> tuple[list[str], list[str]]:
    known, newer, lacking = ledger.bulk_stamps(kind), [], []
    for subject, time in _column(rows, "event_timestamp").items():
        stored_us, stored_knowledge = known.get(subject, (None, ""))
        time_us = microseconds(time.to_pydatetime())
        if stored_us is None or stored_us < time_us:
            newer.append(subject)
        elif not stored_knowledge and subject in bulk and (kind == "user" or stored_us == time_us):
            lacking.append(subject)
    return newer, lacking


def _newest(directory: Path, view: str, entity: Kind, *fields: str) -> pd.DataFrame:
    path, key = source_path(directory, view), f"{entity}_id"
    if not path.exists():
        return pd.DataFrame(index=pd.Index([], name=key))
    order = ["event_timestamp", "created_timestamp"]
    frame = pd.read_parquet(path, columns=[key, *fields, *order] if fields else None)
    return frame.sort_values(order, kind="stable").drop_duplicates(key, keep="last").set_index(key)


def _column(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    return {str(subject): value for subject, value in frame[name].items()} if name in frame else {}


def _row(frame: pd.DataFrame, subject: str) -> dict[str, Any]:
    return {"subject": subject, **{str(name): value for name, value in frame.loc[subject].items()}}


def _with_knowledge(state: State, bulk: _BulkKnowledge, augmented: Augmented) -> State:
    subject = state.packed.item_id if isinstance(state, ItemState) else state.packed.user_id
    knowledge, answer = bulk.of(subject)
    packed: Any = replace(state.packed, augmented=state.packed.augmented | augmented)
    return replace(state, knowledge=knowledge, answer=answer, packed=packed)


def _item_state(row: dict[str, Any], knowledge: Stamp | None, answer: Answer | None) -> ItemState:
    item = Item(row["subject"], row["scenario"], row["title"], json.loads(row["attributes_json"]))
    content = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    return ItemState(content, content_hash(item), knowledge, unpack_item(row["packed"]), answer)


def _user_state(row: dict[str, Any], knowledge: Stamp | None, answer: Answer | None) -> UserState:
    history = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    packed, events = histories.without_events(unpack_user(row["packed"]))
    return UserState(history, knowledge, packed, answer, events)
