"""How a subject's state becomes a row of the ledger, whatever keeps it, and back."""

from __future__ import annotations

import json
from array import array
from typing import Any

from loreline.client import unpack_item, unpack_user
from loreline.domain import PackedUser, Stamp, microseconds, moment_of
from services.features import histories
from services.features.ordering import Answer, ItemState, UserState

ID_BREAK = "\n"  # no id holds a control character
STATE_COLUMNS = (
    "id", "content_event", "content_time_us", "content_hash", "knowledge_event", "knowledge_time_us", "packed",
    "answer_key", "answer_created_us", "answer_encoder", "history_event_ids", "history_times_us",
)  # fmt: skip
COLUMNS = ("versions", *STATE_COLUMNS)
Row = tuple[Any, ...]


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


def item_row(state: ItemState) -> Row:
    """The row of an item, as COLUMNS."""
    packed = state.packed
    content = (state.content.event_id, microseconds(state.content.event_time), state.content_hash)
    head = (json.dumps(list(packed.augmented)), packed.item_id)
    return *head, *content, *_columns(state.knowledge), state.value, *_answer_columns(state.answer), "", b""


def user_row(state: UserState) -> Row:
    """The row of a user, as COLUMNS."""
    packed = state.packed
    head = (json.dumps(list(packed.augmented)), packed.user_id, *_columns(state.history), "")
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
