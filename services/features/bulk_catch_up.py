"""Takes into the ledger what was bulk-loaded past the service: the rows of Feast's offline sources.

Run at start. A subject is taken when the ledger lacks it or holds an older event, and knowledge when the ledger has
none; so a restart changes nothing, and a later bulk load is picked up by the next start. A user's knowledge is taken
beside a newer history too, an item's only beside the content that it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
import structlog

from feature_repo.store import source_path
from loreline.client import unpack_item, unpack_user
from loreline.client.messages import knowledge_of_bytes
from loreline.domain import Item, Stamp, microseconds
from services.features import histories
from services.features.ledger import Hold, Kind, Ledger
from services.features.ordering import Answer, Augmented, ItemState, UserState, content_hash

PAGE = 1_000
State = TypeVar("State", ItemState, UserState)
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Subjects(Generic[State]):
    """What is particular to items, or to users; `source` is the view that holds what the event said."""

    kind: Kind
    source: str
    new: Callable[[dict[str, Any], Stamp | None, Answer | None], State]
    augmented: Callable[[bytes], Augmented]
    stored: Callable[[Ledger, Sequence[str]], dict[str, State]]
    put: Callable[[Ledger, Iterable[State], Hold], None]


def seed(ledger: Ledger, directory: Path) -> None:
    """Bring the ledger up to the offline sources under the feature directory."""
    items = _Subjects(
        "item", "profile", _item_state, lambda packed: unpack_item(packed).augmented, Ledger.items, Ledger.put_items
    )
    users = _Subjects(
        "user", "history", _user_state, lambda packed: unpack_user(packed).augmented, Ledger.users, Ledger.put_users
    )
    log.info("ledger seeded", items=_seed(ledger, directory, items), users=_seed(ledger, directory, users))


def _seed(ledger: Ledger, directory: Path, subjects: _Subjects[State]) -> int:
    """Take over what the ledger lacks, page by page, for another process may write to it; returns how many."""
    kind, taken = subjects.kind, 0
    packed = _newest(directory, f"{kind}_packed", kind)
    rows = packed.join(_newest(directory, f"{kind}_{subjects.source}", kind), rsuffix=f"_{subjects.source}")
    bulk, known = _BulkKnowledge(directory, kind), ledger.bulk_stamps(kind)
    times = {i: microseconds(time.to_pydatetime()) for i, time in _column(rows, "event_timestamp").items()}
    wanted = [
        one
        for one, time_us in times.items()
        if _is_newer(known.get(one), time_us) or _lacks(known[one], one, time_us, kind, bulk)
    ]
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        with ledger.exclusive(kind, page) as hold:
            stored = subjects.stored(ledger, page)
            now = {one: _standing(state) for one, state in stored.items()}
            newer = [one for one in page if _is_newer(now.get(one), times[one])]
            states = [subjects.new(_row(rows, one), *bulk.of(one)) for one in newer]
            states += [
                _with_knowledge(stored[one], bulk, subjects.augmented(_row(rows, one)["packed"]))
                for one in page
                if one in now and one not in newer and _lacks(now[one], one, times[one], kind, bulk)
            ]
            subjects.put(ledger, states, hold)
        taken += len(states)
    return taken


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


def _is_newer(stored: tuple[int, str] | None, time_us: int) -> bool:
    return stored is None or stored[0] < time_us


def _lacks(stored: tuple[int, str], subject: str, time_us: int, kind: Kind, bulk: _BulkKnowledge) -> bool:
    """Whether the bulk-loaded knowledge is to be taken beside what is stored."""
    stored_us, knowledge = stored
    return not knowledge and subject in bulk and (kind == "user" or stored_us == time_us)


def _standing(state: ItemState | UserState) -> tuple[int, str]:
    """As Ledger.bulk_stamps tells it."""
    event = state.content if isinstance(state, ItemState) else state.history
    return microseconds(event.event_time) if event else 0, state.knowledge.event_id if state.knowledge else ""


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
