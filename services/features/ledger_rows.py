"""The ledger's tables, and how a subject's state becomes a row of it and back."""

from __future__ import annotations

import json
import sqlite3
import uuid
from array import array
from typing import Any

from loreline.client import unpack_item, unpack_user
from loreline.domain import PackedUser, Stamp, microseconds, moment_of
from services.features import histories
from services.features.ordering import Answer, ItemState, UserState

SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
    kind TEXT, id TEXT, sequence INTEGER,
    content_event TEXT, content_time_us INTEGER, content_hash TEXT,
    knowledge_event TEXT, knowledge_time_us INTEGER,
    versions TEXT, packed BLOB,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sequence ON subjects (kind, sequence);
CREATE TABLE IF NOT EXISTS properties (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS encoder_widths (encoder TEXT PRIMARY KEY, width INTEGER) WITHOUT ROWID;
"""
ADDED = {  # columns that files of earlier versions lack
    "answer_key": "TEXT NOT NULL DEFAULT ''",
    "answer_created_us": "INTEGER NOT NULL DEFAULT 0",
    "answer_encoder": "TEXT NOT NULL DEFAULT ''",
    "history_event_ids": "TEXT NOT NULL DEFAULT ''",
    "history_times_us": "BLOB NOT NULL DEFAULT x''",
}
ID_BREAK = "\n"  # no id holds a control character
STATE_COLUMNS = (
    "id", "content_event", "content_time_us", "content_hash", "knowledge_event", "knowledge_time_us", "packed", *ADDED
)  # fmt: skip
COLUMNS = ("kind", "sequence", "versions", *STATE_COLUMNS)
Row = tuple[Any, ...]


def migrate(connection: sqlite3.Connection) -> None:
    """Create the tables, or add what a file of an earlier version lacks; rows stay as they are."""
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA)
    present = {row[1] for row in connection.execute("PRAGMA table_info(subjects)")}
    for name, declaration in ADDED.items():
        if name not in present:
            connection.execute(f"ALTER TABLE subjects ADD COLUMN {name} {declaration}")
    connection.execute("INSERT OR IGNORE INTO properties VALUES ('epoch', ?)", (uuid.uuid4().hex,))


def item_state(row: Row) -> ItemState:
    """The state in a row of STATE_COLUMNS."""
    _, event, time_us, content_hash, knowledge_event, knowledge_time_us, packed, *answer, _, _ = row
    if knowledge_event == event:  # earlier versions did not write the time of an item's knowledge
        knowledge_time_us = time_us
    content, knowledge = Stamp(event, moment_of(time_us)), _stamp(knowledge_event, knowledge_time_us)
    return ItemState(content, content_hash, knowledge, unpack_item(packed), _answer(*answer))


def user_state(row: Row) -> UserState:
    """The state in a row of STATE_COLUMNS."""
    _, event, time_us, _, knowledge_event, knowledge_time_us, packed, *answer, ids, times = row
    user, events = _history(unpack_user(packed), ids, times)
    stamps = _stamp(event, time_us), _stamp(knowledge_event, knowledge_time_us)
    return UserState(*stamps, user, _answer(*answer), events)


def item_row(sequence: int, state: ItemState) -> Row:
    """The row of an item, as COLUMNS."""
    packed = state.packed
    content = (state.content.event_id, microseconds(state.content.event_time), state.content_hash)
    head = ("item", sequence, json.dumps(list(packed.augmented)), packed.item_id)
    return *head, *content, *_columns(state.knowledge), state.value, *_answer_columns(state.answer), "", b""


def user_row(sequence: int, state: UserState) -> Row:
    """The row of a user, as COLUMNS."""
    packed = state.packed
    head = ("user", sequence, json.dumps(list(packed.augmented)), packed.user_id, *_columns(state.history), "")
    knowledge = (*_columns(state.knowledge), state.value, *_answer_columns(state.answer))
    return *head, *knowledge, *_event_columns(state.events)


def new_user(user_id: str) -> UserState:
    """The state of a user of whom nothing is stored."""
    return UserState(None, None, PackedUser(user_id))


def _history(packed: PackedUser, ids: str, times: bytes) -> tuple[PackedUser, histories.Events]:
    if not times:
        return histories.without_events(packed)
    return packed, histories.Events(ids.split(ID_BREAK), array("q", times).tolist())


def _event_columns(events: histories.Events) -> tuple[str, bytes]:
    if not any(events.ids):
        return "", b""
    return ID_BREAK.join(events.ids), array("q", events.times_us).tobytes()


def _stamp(event: str, time_us: int) -> Stamp | None:
    return Stamp(event, moment_of(time_us)) if event else None


def _answer(key: str, created_us: int, encoder: str) -> Answer | None:
    return Answer(key, created_us, encoder) if encoder else None


def _columns(stamp: Stamp | None) -> tuple[str, int]:
    return (stamp.event_id, microseconds(stamp.event_time)) if stamp else ("", 0)


def _answer_columns(answer: Answer | None) -> tuple[str, int, str]:
    return (answer.key, answer.created_us, answer.encoder) if answer else ("", 0, "")
