"""Re-rankers on disk. Each is bound to a model version, whose inputs, vocabulary and augmented vectors it takes.

    ROOT/rerankers/1/manifest.json  reranker.onnx
    ROOT/active_reranker.json       which one puts lists in order

`reranker.onnx` has the inputs and the output of a `scorer.onnx`; its C candidates are one list, best first, and its
scores are a new order of them.
"""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.model_registry.numbered_folders import is_number, move_in, numbers
from services.model_registry.registry import NoSuchVersion

RERANKER_FILE = "reranker.onnx"


class RerankerManifest(BaseModel):
    """What a re-ranker is, and the model version that it is bound to. `metrics` are those of the test part."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    number: str
    base_version: str
    scenario: str
    reranker: str
    created_time: datetime
    metrics: dict[str, float]
    data_hash: str
    file_hashes: dict[str, str]


class RerankerRegistry:
    """The re-rankers under `root`, which several processes read while one writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def rerankers(self) -> list[RerankerManifest]:
        """All that are registered, oldest first."""
        return [self.manifest(name) for name in numbers(self.root / "rerankers")]

    def next_number(self) -> str:
        """The name that the next one gets: whole numbers from 1."""
        return str(1 + int(max(numbers(self.root / "rerankers"), key=int, default=0)))

    def folder(self, number: str) -> Path:
        """A re-ranker's folder. Raises NoSuchVersion."""
        folder = self.root / "rerankers" / number
        if not (is_number(number) and (folder / "manifest.json").exists()):
            names = ", ".join(numbers(self.root / "rerankers"))
            raise NoSuchVersion(f"no re-ranker {number!r}; there are: {names or 'none'}")
        return folder

    def manifest(self, number: str) -> RerankerManifest:
        """A re-ranker's manifest. Raises NoSuchVersion."""
        text = (self.folder(number) / "manifest.json").read_text(encoding="utf-8")
        return RerankerManifest.model_validate_json(text)

    def register(self, manifest: RerankerManifest, files: Path) -> str:
        """Move the folder `files`, of the root's file system, in as a re-ranker; returns its number.

        That is `manifest.number`, or a later one if somebody has registered that meanwhile.
        """

        def written(number: str) -> str:
            return manifest.model_copy(update={"number": number}).model_dump_json(indent=2)

        return move_in(files, self.root / "rerankers", manifest.number, written)

    def active(self) -> str | None:
        """The re-ranker that was promoted, or None."""
        try:
            pointer: dict[str, str | None] = json.loads(self._pointer.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return pointer["active"]

    def promote(self, number: str | None) -> None:
        """Let a re-ranker put lists in order, or none, atomically. Raises NoSuchVersion."""
        if number is not None:
            self.folder(number)
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            written = Path(scratch) / self._pointer.name
            written.write_text(json.dumps({"active": number}), encoding="utf-8")
            written.replace(self._pointer)

    @property
    def _pointer(self) -> Path:
        return self.root / "active_reranker.json"
