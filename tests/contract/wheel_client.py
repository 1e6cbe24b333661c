"""The client's wheel, installed by itself into an environment of its own, as an application has it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from loreline.client import ClientError, RankingClient

asked = json.loads(sys.argv[1])
with RankingClient(asked["address"], asked["timeout_seconds"]) as client:
    try:
        found = client.rank(asked["user_id"], asked["scenario"], asked["candidates"], top_k=asked["top_k"])
        told = {"item_ids": found.item_ids, "scores": found.scores.tolist(), "unknown": found.unknown_item_ids}
    except ClientError as error:
        told = {"status": error.code, "fields": [name for name, _ in error.violations]}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class WheelClient:
    """Runs a script with the environment's Python."""

    environment: Path

    @classmethod
    def install(cls, folder: Path) -> WheelClient:
        """Build the wheel of this checkout, and install it with what it asks for."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        wheels = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
        _run(*pip, *wheels, str(ROOT / "clients" / "python"))
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder / "environment"))
        [wheel] = folder.glob("*.whl")
        _run(*pip, "--python", str(folder / "environment"), "install", "--quiet", str(wheel))
        return cls(folder / "environment")

    @property
    def top_level(self) -> set[str]:
        """The packages and modules that the wheel brought, without those of what it depends on."""
        [record] = self.environment.glob("lib/python*/site-packages/loreline_client-*.dist-info/RECORD")
        return {line.split("/")[0] for line in record.read_text().splitlines() if ".dist-info" not in line}

    def rank(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What `SCRIPT` made of a call."""
        told: dict[str, Any] = json.loads(
            _run(str(self.environment / "bin" / "python"), "-c", SCRIPT, json.dumps(asked))
        )
        return told


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
