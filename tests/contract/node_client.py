"""Runs clients/node as its user would, with its packages installed into the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.wheel_assets import cache_directory

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "clients" / "node"
PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")
OLDEST_NODE = 20


@dataclass(frozen=True)
class NodeClient:
    """A copy of the folder beside its node_modules, at the place that it has in a checkout."""

    folder: Path

    @classmethod
    def installed(cls) -> NodeClient:
        """The client, ready to run; skips the test where Node or its packages cannot be had."""
        _require_node()
        checkout = cache_directory() / "node-client" / _packages_id()
        folder = checkout / "clients" / "node"
        if not (folder / "node_modules").exists():
            _install_packages(folder)
        for name in ("protos", "clients/python"):
            (checkout / name).unlink(missing_ok=True)  # it may be that of another checkout
            (checkout / name).symlink_to(ROOT / name)
        for path in SOURCE.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        return cls(folder)

    def rank(self, address: str, *arguments: str) -> tuple[int, Any]:
        """Run `rank.mjs --json`; returns the exit code and the document that it prints."""
        ended = self.run("--json", "--address", address, *arguments)
        assert ended.stderr == ""
        return ended.returncode, json.loads(ended.stdout)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rank.mjs` to its end. Warnings are errors."""
        command = ["node", "--throw-deprecation", "rank.mjs", *arguments]
        return subprocess.run(command, cwd=self.folder, env=_environment(), capture_output=True, text=True, timeout=240)


def _require_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: the Node client is not tested")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version} is too old for the Node client, which needs {OLDEST_NODE}")


def _packages_id() -> str:
    return hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in PACKAGE_FILES)).hexdigest()[:12]


def _install_packages(folder: Path) -> None:
    """By `npm ci`, which installs what the lock file says or nothing; several test runs may do it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".install-") as scratch:
        for name in PACKAGE_FILES:
            shutil.copy(SOURCE / name, scratch)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ended = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=240)
        if ended.returncode != 0:
            pytest.skip(f"the Node client's packages cannot be installed: {ended.stderr.strip()[-500:]}")
        if not (folder / "node_modules").exists():
            Path(scratch, "node_modules").rename(folder / "node_modules")


def _environment() -> dict[str, str]:
    """Without a proxy, through which grpc-js would reach for local addresses too."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
