"""Versions of several kinds lie in one registry, each kind with a pointer of its own."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from model_versions import manifest, register_version
from pydantic import ValidationError

from services.model_registry import Manifest, ModelRegistry, NoSuchVersion, Traffic, blank_inputs
from services.model_registry.unictr_files import missing_files, network_of, networks_of


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


def of_kind(kind: str, version: str = "1", **changes: object) -> Manifest:
    scenario = {"scenario": ""} if kind != "kar" else {}
    update = {"kind": kind, "scenarios": ["movies", "music"], **scenario, **changes}
    return Manifest.model_validate(manifest(version).model_dump() | update)


def register(registry: ModelRegistry, kind: str) -> str:
    version = registry.next_version()
    registry.root.mkdir(parents=True, exist_ok=True)
    registry.register(of_kind(kind, version), Path(tempfile.mkdtemp(dir=registry.root)))
    return version


def test_each_kind_has_an_active_version_of_its_own(registry: ModelRegistry) -> None:
    """Promoting one kind leaves the others as they are."""
    kar, unictr, student = (
        register_version(registry),
        register(registry, "unictr"),
        register(registry, "unictr-student"),
    )
    for version in (kar, unictr, student):
        registry.promote(version)
    active = {kind: traffic.active for kind, traffic in registry.traffic_by_kind().items()}
    assert active == {"kar": kar, "unictr": unictr, "unictr-student": student}
    assert registry.adapted_versions() == [kar, student]


def test_a_rollback_stays_within_the_kind(registry: ModelRegistry) -> None:
    """What was active before is of the same kind."""
    first, second = register(registry, "unictr"), register(registry, "unictr")
    register_version(registry, promote=True)
    registry.promote(first)
    registry.promote(second)
    assert (registry.previous("unictr"), registry.previous()) == (first, None)


def test_a_pointer_takes_no_version_of_another_kind(registry: ModelRegistry) -> None:
    """Ranking would load files that are not there."""
    version = register(registry, "unictr")
    with pytest.raises(NoSuchVersion, match="version 1 is of kind unictr, expected kar"):
        registry.direct(Traffic(active=version))


def test_a_registry_of_before_there_were_kinds_loads(registry: ModelRegistry) -> None:
    """Its manifests have no kind, and its one pointer is that of kar; what is written now reads the same there."""
    version = register_version(registry, promote=True)
    path = registry.folder(version) / "manifest.json"
    assert not {"kind", "scenarios"} & json.loads(path.read_text()).keys()
    assert (registry.manifest(version).kind, registry.manifest(version).trained_scenarios) == ("kar", ["movies"])
    assert json.loads((registry.root / "active.json").read_text())["active"] == version


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("kar", {"scenario": ""}, "scenario, encoder: must be set"),
        ("unictr-student", {"scenarios": []}, "scenarios, encoder: must be set"),
        ("unictr", {"scenarios": ["movies", "movies"]}, "must not repeat"),
        ("deepfm", {}, "'kar', 'unictr' or 'unictr-student'"),
    ],
)
def test_a_manifest_that_lacks_what_its_kind_needs_is_refused(
    kind: str, changes: dict[str, object], expected: str
) -> None:
    """With the field's name."""
    with pytest.raises(ValidationError, match=expected):
        of_kind(kind, **changes)


def test_a_scenario_without_a_network_has_the_general_one() -> None:
    """And in a student no place of its own."""
    made = of_kind("unictr")
    assert networks_of(made) == ["movies", "music", "general"]
    assert [network_of(made, name) for name in ("music", "books")] == ["music", "general"]
    assert [made.domain(name) for name in ("music", "books")] == [1, -1]


def test_a_version_of_no_scenario_still_has_the_general_network(tmp_path: Path) -> None:
    """All of its networks may be removed but that one."""
    (tmp_path / "network-general.onnx").touch()
    made = of_kind("unictr", scenarios=[])
    assert missing_files(made, tmp_path) == ["language_model.onnx", "tokenizer.json", "prompts.json"]


def test_blank_inputs_of_a_student_say_that_the_scenario_is_unknown() -> None:
    """Its scorer has one input more than one of kind kar."""
    blank = blank_inputs(of_kind("unictr-student"), candidates=3)
    assert blank.keys() - blank_inputs(manifest("1")).keys() == {"domain"}
    np.testing.assert_array_equal(blank["domain"], [-1])
