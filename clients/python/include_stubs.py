"""Hatch's build hook of the client's wheel: generates the stubs of the checkout's contracts, and puts them into it."""

from __future__ import annotations

import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTRACTS = Path(__file__).resolve().parents[2] / "protos" / "generate.py"


class IncludeStubs(BuildHookInterface[Any]):
    """The stubs go through a folder of their own: the checkout's are in use while a wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatch calls it so
        """Generate, and include."""
        self.folder = Path(tempfile.mkdtemp())
        runpy.run_path(str(CONTRACTS))["generate"](self.folder / "stubs")
        build_data["force_include"][str(self.folder / "stubs" / "loreline")] = "loreline"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Leave nothing behind."""
        shutil.rmtree(self.folder)
