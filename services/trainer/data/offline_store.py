"""Writes a dataset and its knowledge as the Parquet sources of Feast's feature views, and reads vectors back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.store import apply_definitions, entity_of, materialise, open_store, source_path
from loreline.client import pack_item, pack_user, unpack_item, unpack_user
from loreline.client.messages import knowledge_bytes, knowledge_of_bytes, vector_bytes, vector_of
from loreline.domain import HistoryEntry, Item, PackedItem, PackedUser, UserHistory
from services.scenarios import load_scenario
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import told_count
from services.trainer.data.knowledge_rows import AskedKnowledge, KnowledgeNotLoaded, KnowledgeRow, StoredVectors

MAX_HISTORY = 512  # entries kept of a user's whole history, the newest: as many as features keep
MAX_MOMENT_HISTORY = 50  # of the history at each earlier moment, of which there are as many as interactions
CATALOGUE_VIEWS = ("item_profile", "item_packed", "user_profile", "user_history", "user_packed")
KNOWLEDGE_VIEWS = ("item_knowledge", "item_provenance", "user_knowledge", "user_provenance")


def load_catalogue(dataset: Dataset, directory: Path) -> None:
    """Replace all that is stored under the feature directory by the dataset, and materialise it.

    What was stored stays until everything is written beside it. Raises OSError.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        beside = Path(scratch) / "new"
        _write_catalogue(dataset, beside)
        if directory.exists():
            directory.rename(Path(scratch) / "old")
        beside.rename(directory)
    apply_definitions(open_store(directory), directory)  # Feast's registry names files by their whole paths


def _write_catalogue(dataset: Dataset, directory: Path) -> None:
    store = open_store(directory)
    started = pd.Timestamp(int(dataset.interactions["time"].min()), unit="s", tz="UTC")
    for view, rows in _catalogue_rows(dataset, started).items():
        if rows:  # nothing may be known of the users
            _write(directory, view, rows)
    apply_definitions(store, directory)
    materialise(store, directory, CATALOGUE_VIEWS)


def load_knowledge(
    dataset: Dataset, items: Sequence[KnowledgeRow], users: Sequence[KnowledgeRow], directory: Path
) -> None:
    """Add knowledge with its vectors beside the catalogue, and materialise it.

    The rows replace all knowledge of their kind; no rows of a kind leave what is stored of it. Augmented vectors that
    rows bring go into the packed features.
    """
    started = pd.Timestamp(int(dataset.interactions["time"].min()), unit="s", tz="UTC")
    known_since = {history.user_id: since for history, since in preference_histories(dataset)}
    item_rows = [(row, f"bulk-{row.subject_id}", started) for row in items]
    user_rows = [
        (row, f"bulk-knowledge-{row.subject_id}", pd.Timestamp(known_since[row.subject_id], unit="s", tz="UTC"))
        for row in users
    ]
    given = {entity: rows for entity, rows in {"item": item_rows, "user": user_rows}.items() if rows}
    for entity, rows in given.items():
        _write(directory, f"{entity}_knowledge", [_vector_row(entity, *row) for row in rows])
        _write(directory, f"{entity}_provenance", [_provenance_row(entity, *row) for row in rows])
        _pack(directory, entity, {row.subject_id: row for row, _, _ in rows if row.augmented})
    store = open_store(directory)
    apply_definitions(store, directory)
    packed = tuple(f"{entity}_packed" for entity, rows in given.items() if any(row.augmented for row, _, _ in rows))
    materialise(store, directory, (*KNOWLEDGE_VIEWS, *packed))


def stored_knowledge(directory: Path, entity: str) -> list[KnowledgeRow]:
    """All knowledge of `item` or `user`, with vectors, in the order of storing. Raises KnowledgeNotLoaded."""
    vectors, path = stored_vectors(directory, f"{entity}_knowledge"), source_path(directory, f"{entity}_provenance")
    frame = pd.read_parquet(path).drop_duplicates(f"{entity}_id", keep="last")
    texts = {str(subject): data for subject, data in zip(frame[f"{entity}_id"], frame["knowledge"], strict=True)}
    return [
        KnowledgeRow(subject_id, knowledge_of_bytes(texts[subject_id]), vectors.encoder, vector)
        for subject_id, vector in zip(vectors.subject_ids, vectors.vectors, strict=True)
    ]


def asked_knowledge(directory: Path) -> AskedKnowledge:
    """Count the stored knowledge of items and users by what was asked for it. Raises KnowledgeNotLoaded."""
    rows = [*stored_knowledge(directory, "item"), *stored_knowledge(directory, "user")]
    return AskedKnowledge(len({row.knowledge.provenance.key for row in rows}), len(rows))


def stored_vectors(directory: Path, view: str) -> StoredVectors:
    """All vectors of `item_knowledge` or `user_knowledge`. Raises KnowledgeNotLoaded."""
    path, key = source_path(directory, view), entity_of(view).join_key
    if not path.exists():
        raise KnowledgeNotLoaded(f"there is no {view}: run `loreline knowledge build` first")
    frame = pd.read_parquet(path).drop_duplicates(key, keep="last")
    encoders = sorted(frame["encoder"].unique())
    if len(encoders) != 1:
        raise KnowledgeNotLoaded(f"{view} holds vectors of {encoders}: build the knowledge again with one encoder")
    return StoredVectors(frame[key].tolist(), encoders[0], np.stack([vector_of(v) for v in frame["vector"]]))


def preference_histories(dataset: Dataset) -> Iterator[tuple[UserHistory, int]]:
    """Each user's first interactions, of which the user's knowledge is made, and the time of the last of them.

    The first n = min((length + 1) // 2, 30) in time; training and testing use only what came later, so that no label
    is ever told in a prompt (the leakage rule of KAR's data preparation).
    """
    for user_id, log in dataset.interactions.groupby("user_id", sort=False):
        first = log.iloc[: told_count(len(log))]
        entries = [
            HistoryEntry(dataset.items[item_id], None if np.isnan(rating) else float(rating))
            for item_id, rating in zip(first["item_id"], first["rating"], strict=True)
        ]
        yield UserHistory(str(user_id), entries, dataset.users.get(str(user_id), {})), int(first["time"].iloc[-1])


def _catalogue_rows(dataset: Dataset, started: pd.Timestamp) -> dict[str, list[dict[str, Any]]]:
    stored_us = round(started.timestamp() * 1_000_000)
    items = [(item, f"bulk-{item.item_id}") for item in dataset.items.values()]
    histories = list(_histories(dataset.interactions))
    newest = {row["user_id"]: row for row in histories}
    return {
        "item_profile": [
            {
                "item_id": item.item_id,
                "scenario": item.scenario,
                "title": item.title,
                "attributes_json": _json(item.attributes),
                "event_id": event_id,
                "stored_time_us": stored_us,
                "event_timestamp": started,
            }
            for item, event_id in items
        ],
        "item_packed": [
            {
                "item_id": item.item_id,
                "packed": pack_item(_packed(item)),
                "event_timestamp": started,
            }
            for item, _ in items
        ],
        "user_profile": [
            {
                "user_id": user_id,
                "attributes_json": _json(attributes),
                "event_id": f"bulk-{user_id}",
                "event_timestamp": started,
            }
            for user_id, attributes in dataset.users.items()
        ],
        "user_history": histories,
        "user_packed": [
            {name: row[name] for name in ("user_id", "packed", "event_timestamp")} for row in newest.values()
        ],
    }


def _packed(item: Item) -> PackedItem:
    values = load_scenario(item.scenario).field_values(item)
    return PackedItem(item.item_id, item.scenario, values, title=item.title)


def _histories(interactions: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row for each user and moment: the newest interactions up to and with that moment, more of the last one."""
    for group, log in interactions.groupby("user_id", sort=False):
        user_id = str(group)
        ids, ratings, times = log["item_id"].tolist(), log["rating"].fillna(0).tolist(), log["time"].tolist()
        end = 0
        for moment, same in groupby(times):
            end += len(list(same))
            kept = slice(max(0, end - (MAX_HISTORY if end == len(times) else MAX_MOMENT_HISTORY)), end)
            yield {
                "user_id": user_id,
                "packed": pack_user(PackedUser(user_id, ids[kept], ratings[kept], times[kept])),
                "event_id": f"bulk-{user_id}-{moment}",
                "event_timestamp": pd.Timestamp(moment, unit="s", tz="UTC"),
            }


def _vector_row(entity: str, row: KnowledgeRow, _: str, since: pd.Timestamp) -> dict[str, Any]:
    return {
        f"{entity}_id": row.subject_id,
        "encoder": row.encoder,
        "vector": vector_bytes(row.vector),
        "event_timestamp": since,
    }


def _provenance_row(entity: str, row: KnowledgeRow, event_id: str, since: pd.Timestamp) -> dict[str, Any]:
    return {
        f"{entity}_id": row.subject_id,
        "knowledge": knowledge_bytes(row.knowledge),
        "event_id": event_id,
        "stored_time_us": round(datetime.now(UTC).timestamp() * 1_000_000),
        "event_timestamp": since,
    }


def _pack(directory: Path, entity: str, rows: Mapping[str, KnowledgeRow]) -> None:
    """Put the rows' augmented vectors beside what else is packed of their subjects."""
    if not rows:
        return
    path, key = source_path(directory, f"{entity}_packed"), f"{entity}_id"
    frame = pd.read_parquet(path)
    frame["packed"] = [
        _with_augmented(entity, packed, rows[subject]) if subject in rows else packed
        for subject, packed in zip(frame[key], frame["packed"], strict=True)
    ]
    frame.assign(created_timestamp=pd.Timestamp.now("UTC")).to_parquet(path, index=False)


def _with_augmented(entity: str, packed: bytes, row: KnowledgeRow) -> bytes:
    if entity == "item":
        item = unpack_item(packed)
        return pack_item(replace(item, augmented=item.augmented | dict(row.augmented)))
    user = unpack_user(packed)
    return pack_user(replace(user, augmented=user.augmented | dict(row.augmented)))


def _write(directory: Path, view: str, rows: Iterable[Mapping[str, Any]]) -> None:
    path = source_path(directory, view)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(list(rows)).assign(created_timestamp=pd.Timestamp.now("UTC"))
    frame.to_parquet(path, index=False)


def _json(attributes: Mapping[str, object]) -> str:
    return json.dumps(dict(attributes), ensure_ascii=False)
