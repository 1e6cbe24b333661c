"""Takes into the ledger what was bulk-loaded past the service: the rows of Feast's offline sources.

Run at start. A subject is taken when the ledger lacks it or holds an older event, and knowledge when the ledger has
none; so a restart changes nothing, and a later bulk load is picked up by the next start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import structlog

from feature_repo.store import source_path
from loreline.client import Stamp, unpack_item, unpack_user
from services.features.ledger import Kind, Ledger, microseconds
from services.features.ordering import ItemState, UserState, content_hash
from services.scenarios import Item

log = structlog.get_logger(__name__)


def seed(ledger: Ledger, directory: Path) -> None:
    """Bring the ledger up to the offline sources under the feature directory."""
    items, users = _new_items(ledger, directory), _new_users(ledger, directory)
    ledger.put_items(items)
    ledger.put_users(users)
    log.info("ledger seeded", items=len(items), users=len(users))


def _new_items(ledger: Ledger, directory: Path) -> list[ItemState]:
    rows = _newest(directory, "item_packed", "item").join(
        _newest(directory, "item_profile", "item"), rsuffix="_profile"
    )
    knowledge: dict[str, str] = _column(_newest(directory, "item_provenance", "item"), "event_id")
    wanted = _wanted(ledger, "item", rows, knowledge)
    return [_item_state(_row(rows, item_id), knowledge.get(item_id, "")) for item_id in wanted]


def _new_users(ledger: Ledger, directory: Path) -> list[UserState]:
    rows = _newest(directory, "user_packed", "user").join(
        _newest(directory, "user_history", "user"), rsuffix="_history"
    )
    knowledge = _newest(directory, "user_provenance", "user")
    events, times = _column(knowledge, "event_id"), _column(knowledge, "event_timestamp")
    stamps = {user_id: Stamp(event, times[user_id].to_pydatetime()) for user_id, event in events.items()}
    wanted = _wanted(ledger, "user", rows, events)
    return [_user_state(_row(rows, user_id), stamps.get(user_id)) for user_id in wanted]


def _wanted(ledger: Ledger, kind: Kind, rows: pd.DataFrame, knowledge: dict[str, str]) -> list[str]:
    known = ledger.bulk_stamps(kind)
    wanted = []
    for subject, time in _column(rows, "event_timestamp").items():
        stored_us, stored_knowledge = known.get(subject, (None, ""))
        time_us = microseconds(time)
        lacks_knowledge = stored_us == time_us and not stored_knowledge and subject in knowledge
        if stored_us is None or stored_us < time_us or lacks_knowledge:
            wanted.append(subject)
    return wanted


def _newest(directory: Path, view: str, entity: str) -> pd.DataFrame:
    path, key = source_path(directory, view), f"{entity}_id"
    if not path.exists():
        return pd.DataFrame(index=pd.Index([], name=key))
    frame = pd.read_parquet(path).sort_values(["event_timestamp", "created_timestamp"], kind="stable")
    return frame.drop_duplicates(key, keep="last").set_index(key)


def _column(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    return {str(subject): value for subject, value in frame[name].items()} if name in frame else {}


def _row(frame: pd.DataFrame, subject: str) -> dict[str, Any]:
    return {"subject": subject, **{str(name): value for name, value in frame.loc[subject].items()}}


def _item_state(row: dict[str, Any], knowledge_event: str) -> ItemState:
    item = Item(row["subject"], row["scenario"], row["title"], json.loads(row["attributes_json"]))
    stamp = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    return ItemState(stamp, content_hash(item), knowledge_event, unpack_item(row["packed"]))


def _user_state(row: dict[str, Any], knowledge: Stamp | None) -> UserState:
    history = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    return UserState(history, knowledge, unpack_user(row["packed"]))
