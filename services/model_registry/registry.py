"""Reads and writes model versions. A version never changes once registered; promotion only moves a pointer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.model_registry.manifest import SCORER_KINDS, Manifest, ScorerKind
from services.model_registry.numbered_folders import is_number, move_in, numbers
from services.model_registry.traffic import Traffic

PADDING, UNKNOWN = 0, 1  # the first two indices of every vocabulary
ADAPTED_KINDS: tuple[ScorerKind, ...] = ("kar", "unictr-student")


class NoSuchVersion(Exception):
    """The registry holds no such version, or none to roll back to."""


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
        return [self.manifest(name) for name in numbers(self.root / "versions")]

    def next_version(self) -> str:
        """The name that the next registered version gets: whole numbers from 1."""
        return str(1 + int(max(numbers(self.root / "versions"), key=int, default=0)))

    def folder(self, version: str) -> Path:
        """The version's folder. Raises NoSuchVersion."""
        folder = self.root / "versions" / version
        if not (is_number(version) and (folder / "manifest.json").exists()):
            raise NoSuchVersion(f"no model version {version!r}; there are: {self._names() or 'none'}")
        return folder

    def manifest(self, version: str) -> Manifest:
        """The version's manifest. Raises NoSuchVersion."""
        return Manifest.model_validate_json((self.folder(version) / "manifest.json").read_text(encoding="utf-8"))

    def vocabulary(self, version: str) -> Vocabulary:
        """The version's vocabulary. Raises NoSuchVersion."""
        return Vocabulary.read(self.folder(version) / "vocabulary.json")

    def register(self, manifest: Manifest, files: Path) -> str:
        """Move the folder `files`, of the root's file system, in as a version; returns its name.

        That is `manifest.version`, or a later one if somebody has registered that meanwhile.
        """

        def written(version: str) -> str:
            return manifest.model_copy(update={"version": version}).written()

        return move_in(files, self.root / "versions", manifest.version, written)

    def traffic(self, kind: ScorerKind = "kar") -> Traffic:
        """Which version of a kind ranks whom; nothing is active before the first promotion."""
        try:
            return Traffic.model_validate_json(self._pointer(kind).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Traffic()

    def traffic_by_kind(self) -> dict[ScorerKind, Traffic]:
        """As `traffic`, of every kind."""
        return {kind: self.traffic(kind) for kind in SCORER_KINDS}

    def direct(self, traffic: Traffic, kind: ScorerKind = "kar") -> None:
        """Replace which version of a kind ranks whom, atomically. Raises NoSuchVersion, also of another kind."""
        for version in {traffic.active, traffic.candidate} - {None}:
            if (found := self.manifest(str(version)).kind) != kind:
                raise NoSuchVersion(f"model version {version} is of kind {found}, expected {kind}")
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            written = Path(scratch) / "active.json"
            written.write_text(traffic.model_dump_json(exclude=_unset(traffic)), encoding="utf-8")
            written.replace(self._pointer(kind))

    def active(self, kind: ScorerKind = "kar") -> str | None:
        """The active version of a kind, or None before its first promotion."""
        return self.traffic(kind).active

    def adapted_versions(self) -> list[str]:
        """The active versions that read stored vectors, each through its adaptor: that of kind kar first."""
        return [version for kind in ADAPTED_KINDS if (version := self.active(kind))]

    def previous(self, kind: ScorerKind = "kar") -> str | None:
        """The version that a rollback would bring back, or None."""
        return self.traffic(kind).previous

    def promote(self, version: str) -> None:
        """Make a version the active one of its kind, atomically, and end what runs beside it. Raises NoSuchVersion."""
        kind = self.manifest(version).kind
        before = self.traffic(kind)
        after = before.promoted(version)
        if after != before:
            self.direct(after, kind)

    def _pointer(self, kind: ScorerKind) -> Path:
        return self.root / ("active.json" if kind == "kar" else f"active_{kind}.json")

    def _names(self) -> str:
        return ", ".join(numbers(self.root / "versions"))


def _unset(traffic: Traffic) -> set[str]:
    """Fields that only some registries need, and processes of an earlier release do not know."""
    return {name for name in ("canary", "shadow", "knowledge_off") if getattr(traffic, name) is None}
