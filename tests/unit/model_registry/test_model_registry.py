"""Model versions on disk: registering, reading, promoting."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.model_registry import PADDING, UNKNOWN, ModelRegistry, NoSuchVersion, Vocabulary
from tests.model_versions import FIELDS, ITEM_IDS, manifest, register_version, vocabulary

TEXTS = st.lists(st.text(max_size=8), unique=True, max_size=6)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry")


def test_an_empty_registry_has_nothing(registry: ModelRegistry) -> None:
    """Also where the folder does not exist yet."""
    assert registry.versions() == []
    assert registry.active() is None
    assert registry.previous() is None
    assert registry.next_version() == "1"


def test_a_registered_version_is_whole(registry: ModelRegistry) -> None:
    """Manifest, vocabulary and both halves are there under the version's name."""
    version = register_version(registry)
    files = {path.name for path in registry.folder(version).iterdir()}
    assert files == {"manifest.json", "vocabulary.json", "adaptor.onnx", "scorer.onnx", "golden.npz"}
    assert registry.manifest(version).version == version
    assert registry.vocabulary(version).item_ids == ITEM_IDS


def test_versions_count_as_numbers(registry: ModelRegistry) -> None:
    """The tenth comes after the ninth, although it sorts before it as text."""
    names = [register_version(registry) for _ in range(11)]
    assert names == [str(number) for number in range(1, 12)]
    assert [entry.version for entry in registry.versions()] == names
    assert registry.next_version() == "12"


def test_a_version_never_changes(registry: ModelRegistry, tmp_path: Path) -> None:
    """What is registered under a taken name is another version, and what is there stays."""
    version = register_version(registry)
    before = {path.name: path.read_bytes() for path in registry.folder(version).iterdir()}
    files = tmp_path / "other"
    files.mkdir()
    (files / "scorer.onnx").write_bytes(b"other")
    assert registry.register(manifest(version), files) == "2"
    assert {path.name: path.read_bytes() for path in registry.folder(version).iterdir()} == before
    assert registry.manifest("2").version == "2"
    assert {path.name for path in registry.folder("2").iterdir()} == {"manifest.json", "scorer.onnx"}


def test_trainers_that_finish_together_get_a_version_each(registry: ModelRegistry) -> None:
    """All wanted the same number; no version lies inside another."""
    registry.root.mkdir()
    wanted, start = registry.next_version(), threading.Barrier(8)

    def finish(number: int) -> str:
        files = Path(tempfile.mkdtemp(dir=registry.root))
        (files / "scorer.onnx").write_text(str(number))
        start.wait(100)
        return registry.register(manifest(wanted), files)

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(finish, range(8)))
    assert sorted(given, key=int) == [str(number) for number in range(1, 9)]
    for number, version in enumerate(given):
        assert (registry.folder(version) / "scorer.onnx").read_text() == str(number)
        assert {path.name for path in registry.folder(version).iterdir()} == {"manifest.json", "scorer.onnx"}


def test_a_half_registered_version_is_not_seen(registry: ModelRegistry) -> None:
    """A folder without a manifest is no version."""
    register_version(registry)
    (registry.root / "versions" / "2").mkdir()
    assert [entry.version for entry in registry.versions()] == ["1"]
    with pytest.raises(NoSuchVersion):
        registry.folder("2")


def test_folders_that_are_no_versions_are_passed_over(registry: ModelRegistry) -> None:
    """Such as a copy that somebody made for safety; the next version is not called after it."""
    register_version(registry)
    for name in ("1.bak", "02", "\u0663", "lost+found"):
        shutil.copytree(registry.folder("1"), registry.root / "versions" / name)
    assert [entry.version for entry in registry.versions()] == ["1"]
    assert registry.next_version() == "2"


@pytest.mark.parametrize(
    "version", ["2", "", "..", "../versions/1", "latest", "1/../1", "01", "\u0661", "1" * 5000, "1\n"]
)
def test_an_unknown_version_is_refused_with_those_there_are(registry: ModelRegistry, version: str) -> None:
    """A name is a number, never a path."""
    register_version(registry)
    with pytest.raises(NoSuchVersion, match="there are: 1"):
        registry.folder(version)


def test_promotion_moves_the_pointer_and_remembers(registry: ModelRegistry) -> None:
    """Active and previous; promoting the active one again forgets nothing."""
    for _ in range(2):
        register_version(registry)
    registry.promote("1")
    assert (registry.active(), registry.previous()) == ("1", None)
    registry.promote("2")
    registry.promote("2")
    assert (registry.active(), registry.previous()) == ("2", "1")
    registry.promote("1")
    assert (registry.active(), registry.previous()) == ("1", "2")


def test_promotion_of_a_missing_version_changes_nothing(registry: ModelRegistry) -> None:
    """The pointer never names what is not there."""
    register_version(registry, promote=True)
    with pytest.raises(NoSuchVersion):
        registry.promote("9")
    assert registry.active() == "1"


def test_another_process_sees_the_promotion(registry: ModelRegistry) -> None:
    """The pointer is on disk, whole, and readable by other users' processes."""
    register_version(registry, promote=True)
    assert ModelRegistry(registry.root).active() == "1"
    assert json.loads((registry.root / "active.json").read_text()) == {"active": "1", "previous": None}
    shared = [registry.root / "active.json", registry.folder("1"), *registry.folder("1").iterdir()]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in shared)
    assert sorted(path.name for path in registry.root.iterdir()) == ["active.json", "versions"]


def test_a_manifest_with_an_unknown_field_is_refused() -> None:
    """A version of another format is not half understood."""
    document = manifest("1").model_dump(mode="json") | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        type(manifest("1")).model_validate(document)


@given(item_ids=TEXTS, genres=TEXTS, decades=TEXTS)
def test_a_vocabulary_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, item_ids: list[str], genres: list[str], decades: list[str]
) -> None:
    """Whatever ids and values look like: the same indices, counts and order of fields."""
    given_one = Vocabulary(item_ids, {"genre": genres, "decade": decades})
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    given_one.write(path)
    read = Vocabulary.read(path)
    assert (read.item_ids, list(read.fields.items())) == (item_ids, [("genre", genres), ("decade", decades)])
    assert [read.item_index(item_id) for item_id in item_ids] == list(range(2, len(item_ids) + 2))
    assert read.item_count == len(item_ids) + 2
    assert read.field_counts == {"genre": len(genres) + 2, "decade": len(decades) + 2}


def test_what_training_never_saw_is_unknown() -> None:
    """And nothing real has the index of padding."""
    known = vocabulary()
    assert known.item_index("never seen") == UNKNOWN
    assert PADDING not in [known.item_index(item_id) for item_id in ITEM_IDS]
    indices = known.field_indices(["Drama", "1850"])
    assert indices.dtype == np.int64
    assert indices.tolist() == [2 + FIELDS["genre"].index("Drama"), UNKNOWN]


def test_field_values_must_match_the_fields() -> None:
    """A scenario that changed its fields does not feed a version of the old ones."""
    with pytest.raises(ValueError, match="argument 2"):
        vocabulary().field_indices(["Drama"])
