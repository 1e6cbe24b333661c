"""Takes into the ledger what was bulk-loaded past the service: the rows of Feast's offline sources.

Run at start. A subject is taken when the ledger lacks it or holds an older event, and knowledge when the ledger has
none; so a restart changes nothing, and a later bulk load is picked up by the next start.
"""

from __future__ import annotations

import json
from pathlib import Path

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
    knowledge = _newest(directory, "item_provenance", "item").get("event_id", pd.Series(dtype=str)).to_dict()
    wanted = _wanted(ledger, "item", rows, knowledge)
    return [_item_state(rows.loc[item_id], knowledge.get(item_id, "")) for item_id in wanted]


def _new_users(ledger: Ledger, directory: Path) -> list[UserState]:
    rows = _newest(directory, "user_packed", "user").join(
        _newest(directory, "user_history", "user"), rsuffix="_history"
    )
    knowledge = _newest(directory, "user_provenance", "user")
    events = knowledge.get("event_id", pd.Series(dtype=str)).to_dict()
    times = knowledge.get("event_timestamp", pd.Series(dtype="datetime64[us, UTC]")).to_dict()
    wanted = _wanted(ledger, "user", rows, events)
    return [
        _user_state(
            rows.loc[user_id], Stamp(events[user_id], times[user_id].to_pydatetime()) if user_id in events else None
        )
        for user_id in wanted
    ]


def _wanted(ledger: Ledger, kind: Kind, rows: pd.DataFrame, knowledge: dict[str, str]) -> list[str]:
    known = ledger.bulk_stamps(kind)
    wanted = []
    for subject, time in rows.get("event_timestamp", pd.Series(dtype="datetime64[us, UTC]")).items():
        stored_us, stored_knowledge = known.get(str(subject), (None, ""))
        time_us = microseconds(time)
        lacks_knowledge = stored_us == time_us and not stored_knowledge and subject in knowledge
        if stored_us is None or stored_us < time_us or lacks_knowledge:
            wanted.append(str(subject))
    return wanted


def _newest(directory: Path, view: str, entity: str) -> pd.DataFrame:
    path, key = source_path(directory, view), f"{entity}_id"
    if not path.exists():
        return pd.DataFrame(index=pd.Index([], name=key))
    frame = pd.read_parquet(path).sort_values(["event_timestamp", "created_timestamp"], kind="stable")
    return frame.drop_duplicates(key, keep="last").set_index(key)


def _item_state(row: pd.Series, knowledge_event: str) -> ItemState:
    item = Item(str(row.name), row["scenario"], row["title"], json.loads(row["attributes_json"]))
    stamp = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    return ItemState(stamp, content_hash(item), knowledge_event, unpack_item(row["packed"]))


def _user_state(row: pd.Series, knowledge: Stamp | None) -> UserState:
    history = Stamp(row["event_id"], row["event_timestamp"].to_pydatetime())
    return UserState(history, knowledge, unpack_user(row["packed"]))
