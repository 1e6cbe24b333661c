"""Reads and writes model versions. A version never changes once registered; promotion only moves a pointer."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

PADDING, UNKNOWN = 0, 1  # the first two indices of every vocabulary
SCORER_INPUTS = {  # name: (dtype, shape)
    "item_id": ("int64", ("B", "C")),
    "item_fields": ("int64", ("B", "C", "F")),
    "item_augmented": ("float32", ("B", "C", "A")),  # zeros: no knowledge
    "history_item_id": ("int64", ("B", "L")),  # oldest first, PADDING at the end
    "history_fields": ("int64", ("B", "L", "F")),
    "history_rating": ("float32", ("B", "L")),  # scenario's unit, 0 = none given or padding
    "user_augmented": ("float32", ("B", "A")),  # zeros: no knowledge
}
SCORER_OUTPUT = "score"  # float32 (B, C), probability of a positive interaction


class NoSuchVersion(Exception):
    """The registry holds no such version, or none to roll back to."""


class Manifest(BaseModel):
    """What binds a version's halves. Widths count float32 numbers; `metrics` are those of the test part."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    version: str
    scenario: str
    backbone: str
    created_time: datetime
    encoder: str
    knowledge_dimension: int
    augmented_dimension: int
    history_length: int
    item_fields: list[str]
    metrics: dict[str, float]
    data_hash: str
    file_hashes: dict[str, str]


class Vocabulary:
    """Maps item ids and field values to embedding indices: PADDING 0, UNKNOWN 1, then the known ones in order."""

    def __init__(self, item_ids: Sequence[str], fields: Mapping[str, Sequence[str]]) -> None:
        self.item_ids, self.fields = list(item_ids), {name: list(values) for name, values in fields.items()}
        self._items = {value: index for index, value in enumerate(self.item_ids, start=UNKNOWN + 1)}
        self._fields = [{value: i for i, value in enumerate(v, start=UNKNOWN + 1)} for v in self.fields.values()]

    @property
    def item_count(self) -> int:
        """Rows that an item embedding needs, padding and unknown included."""
        return len(self.item_ids) + UNKNOWN + 1

    @property
    def field_counts(self) -> dict[str, int]:
        """Rows that each field's embedding needs, padding and unknown included."""
        return {name: len(values) + UNKNOWN + 1 for name, values in self.fields.items()}

    def item_index(self, item_id: str) -> int:
        """Index of an item id; UNKNOWN when training never saw it."""
        return self._items.get(item_id, UNKNOWN)

    def field_indices(self, values: Sequence[str]) -> npt.NDArray[np.int64]:
        """(F,) indices of one item's field values, in the fields' order; UNKNOWN where training never saw one."""
        pairs = zip(self._fields, values, strict=True)
        return np.array([known.get(value, UNKNOWN) for known, value in pairs], dtype=np.int64)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps({"item_ids": self.item_ids, "fields": self.fields}), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what `write` wrote."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(document["item_ids"], document["fields"])


class ModelRegistry:
    """The versions under `root`, which several processes read while one writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def versions(self) -> list[Manifest]:
        """All registered versions, oldest first."""
        names = [path.parent.name for path in self.root.glob("versions/*/manifest.json")]
        return [self.manifest(name) for name in sorted(names, key=int)]

    def next_version(self) -> str:
        """The name that the next registered version gets: whole numbers from 1."""
        return str(1 + max((int(manifest.version) for manifest in self.versions()), default=0))

    def folder(self, version: str) -> Path:
        """The version's folder. Raises NoSuchVersion."""
        folder = self.root / "versions" / version
        if not (version.isdecimal() and (folder / "manifest.json").exists()):
            raise NoSuchVersion(f"no model version {version!r}; there are: {self._names() or 'none'}")
        return folder

    def manifest(self, version: str) -> Manifest:
        """The version's manifest. Raises NoSuchVersion."""
        return Manifest.model_validate_json((self.folder(version) / "manifest.json").read_text(encoding="utf-8"))

    def vocabulary(self, version: str) -> Vocabulary:
        """The version's vocabulary. Raises NoSuchVersion."""
        return Vocabulary.read(self.folder(version) / "vocabulary.json")

    def register(self, manifest: Manifest, files: Path) -> Path:
        """Move the folder `files` in as `manifest.version` and return its place. Raises FileExistsError."""
        target = self.root / "versions" / manifest.version
        if target.exists():
            raise FileExistsError(f"model version {manifest.version} is registered already")
        target.parent.mkdir(parents=True, exist_ok=True)
        (files / "manifest.json").write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        files.chmod(0o755)  # a scratch folder is its owner's alone, and other users' processes read the version
        shutil.move(files, target)
        return target

    def active(self) -> str | None:
        """The active version, or None before the first promotion."""
        return self._pointer().get("active")

    def previous(self) -> str | None:
        """The version that a rollback would bring back, or None."""
        return self._pointer().get("previous")

    def promote(self, version: str) -> None:
        """Make a version the active one, atomically. Raises NoSuchVersion. A second call changes nothing."""
        self.folder(version)
        active = self.active()
        if version != active:
            self._write_pointer({"active": version, "previous": active})

    def _pointer(self) -> dict[str, str | None]:
        try:
            pointer: dict[str, str | None] = json.loads((self.root / "active.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return pointer

    def _write_pointer(self, pointer: dict[str, str | None]) -> None:
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            written = Path(scratch) / "active.json"
            written.write_text(json.dumps(pointer), encoding="utf-8")
            written.replace(self.root / "active.json")

    def _names(self) -> str:
        return ", ".join(manifest.version for manifest in self.versions())
