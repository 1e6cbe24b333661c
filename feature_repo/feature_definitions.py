"""Entities and views. Each view's source is one Parquet file under LORELINE_FEATURE_DIRECTORY/offline.

Scoring reads one packed value a subject (`item_packed`, `user_packed`); the other views hold what the packed values
are made of, for training, promotion and people. `user_history` has one row for each moment at which a user's history
changed, so that a point-in-time join sees what was known then.
"""

from __future__ import annotations

import os
from pathlib import Path

import feature_repo.feast_import  # noqa: F401

from feast import Entity, FeatureView, Field, FileSource
from feast.types import Bytes, FeastType, Int64, String
from feast.value_type import ValueType

DIRECTORY_VARIABLE = "LORELINE_FEATURE_DIRECTORY"

item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="An item of a catalogue.")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="A user of a catalogue.")

SCHEMAS: dict[str, dict[str, FeastType]] = {
    "item_profile": {
        "scenario": String,
        "title": String,
        "attributes_json": String,
        "event_id": String,
        "stored_time_us": Int64,
    },
    "item_packed": {"packed": Bytes},
    "item_knowledge": {"encoder": String, "vector": Bytes},
    "item_provenance": {"knowledge": Bytes, "event_id": String, "stored_time_us": Int64},
    "user_profile": {"attributes_json": String, "event_id": String},
    "user_history": {"packed": Bytes, "event_id": String},
    "user_packed": {"packed": Bytes},
    "user_knowledge": {"encoder": String, "vector": Bytes},
    "user_provenance": {"knowledge": Bytes, "event_id": String, "stored_time_us": Int64},
}


def entity_of(view: str) -> Entity:
    """The entity that a view describes, told by the first word of its name."""
    return {"item": item, "user": user}[view.split("_")[0]]


def source_path(directory: Path, view: str) -> Path:
    """The Parquet file behind a view, under the feature directory."""
    return directory.absolute() / "offline" / f"{view}.parquet"


def feature_views(directory: Path) -> list[FeatureView]:
    """All views, with their sources under the feature directory."""
    return [_view(name, schema, source_path(directory, name)) for name, schema in SCHEMAS.items()]


def _view(name: str, schema: dict[str, FeastType], path: Path) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    fields = [Field(name=field, dtype=dtype) for field, dtype in schema.items()]
    return FeatureView(name=name, entities=[entity_of(name)], schema=fields, source=source, online=True)


# `feast apply` finds definitions among a module's own names.
globals().update({view.name: view for view in feature_views(Path(os.environ.get(DIRECTORY_VARIABLE, ".")))})
