"""Ranking as the documentation of Feast, ONNX Runtime and Triton shows it: typed features, to_dict, arrays, one call.

What is kind to this path: values are stored as the model's indices, items and history are read in one call, and only
as much of the history as the model sees. Imports nothing of Loreline, so that a peer's own environment can run it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType

HISTORY_LENGTH = 30  # of the shipped config din
FOLDER_VARIABLE = "PLAIN_PATH_FOLDER"  # of feature_store.yaml, registry.db and scorer.onnx
ITEM_FEATURES = ("item_index", "genre", "decade", "augmented")
USER_FEATURES = ("history_item_ids", "history_ratings", "user_augmented")
CONFIGURATION = """project: plain
provider: local
registry: {folder}/registry.db
online_store:
  type: redis
  connection_string: {redis}
entity_key_serialization_version: 3
"""
Inputs = dict[str, npt.NDArray[Any]]
Score = Callable[[Inputs], npt.NDArray[np.float32]]


class PlainPath:
    """Reads a user's and the candidates' features from Feast, and scores them with `score`."""

    def __init__(self, folder: Path, score: Score) -> None:
        self._store, self._score = FeatureStore(repo_path=str(folder)), score

    def rank(self, user_id: str, candidates: Sequence[str]) -> tuple[list[str], list[float]]:
        """The candidates and their scores, best first."""
        user = self._read("users", USER_FEATURES, [{"user_id": user_id}])
        history = user["history_item_ids"][0][-HISTORY_LENGTH:]
        items = self._read("items", ITEM_FEATURES, [{"item_id": item_id} for item_id in [*candidates, *history]])
        scores = self._score(_inputs(user, items, len(candidates)))[0]
        order = np.argsort(-scores, kind="stable")
        return [candidates[place] for place in order], scores[order].tolist()

    def _read(self, view: str, features: Sequence[str], rows: list[dict[str, str]]) -> dict[str, list[Any]]:
        names = [f"{view}:{feature}" for feature in features]
        return dict(self._store.get_online_features(features=names, entity_rows=rows).to_dict())


def with_onnx(folder: Path) -> PlainPath:
    """A path that scores in this process, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    session = onnxruntime.InferenceSession(str(folder / "scorer.onnx"), options, providers=["CPUExecutionProvider"])
    return PlainPath(folder, lambda inputs: session.run(None, inputs)[0])


def write_store(folder: Path, redis: str, items: pd.DataFrame, users: pd.DataFrame) -> None:
    """Define the store in `folder`, and put the rows of both views, keys and features, into Redis."""
    (folder / "feature_store.yaml").write_text(CONFIGURATION.format(folder=folder, redis=redis))
    store = FeatureStore(repo_path=str(folder))
    store.apply(_definitions(folder))
    for view, rows in (("items", items), ("users", users)):
        store.write_to_online_store(view, rows.assign(event_timestamp=datetime.now(UTC)))


def _inputs(user: dict[str, list[Any]], items: dict[str, list[Any]], count: int) -> Inputs:
    index = np.array(items["item_index"], dtype=np.int64)
    fields = np.stack([np.array(items[name], dtype=np.int64) for name in ("genre", "decade")], axis=1)
    augmented = np.array(items["augmented"][:count], dtype=np.float32)
    ratings = np.array(user["history_ratings"][0][-HISTORY_LENGTH:], dtype=np.float32)
    return {
        "item_id": index[None, :count],
        "item_fields": fields[None, :count],
        "item_augmented": augmented[None],
        "history_item_id": _padded(index[count:])[None],
        "history_fields": _padded(fields[count:])[None],
        "history_rating": _padded(ratings)[None],
        "user_augmented": np.array(user["user_augmented"], dtype=np.float32),
    }


def _padded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.pad(values, [(0, HISTORY_LENGTH - len(values)), *[(0, 0)] * (values.ndim - 1)])


def _definitions(folder: Path) -> list[Any]:
    item, user = (Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING) for name in ("item", "user"))
    item_types = (Int64, Int64, Int64, Array(Float32))
    user_types = (Array(String), Array(Float32), Array(Float32))
    return [
        item,
        user,
        _view("items", item, dict(zip(ITEM_FEATURES, item_types, strict=True)), folder),
        _view("users", user, dict(zip(USER_FEATURES, user_types, strict=True)), folder),
    ]


def _view(name: str, entity: Entity, schema: dict[str, Any], folder: Path) -> FeatureView:
    source = FileSource(name=f"{name}_source", path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
    fields = [Field(name=field, dtype=dtype) for field, dtype in schema.items()]
    return FeatureView(name=name, entities=[entity], schema=fields, source=source, online=True)
