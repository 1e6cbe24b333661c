"""Generates the Python stubs of every contract into protos/gen: `python protos/generate.py`, and on every install."""

from __future__ import annotations

import shutil
import sysconfig
from importlib import resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS / "gen"


def generate(folder: Path = GENERATED) -> None:
    """Run protoc over protos/loreline into an emptied folder. Raises RuntimeError when a contract does not compile."""
    from grpc_tools import protoc

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outputs = [f"--{kind}={folder}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    contracts = sorted(str(path) for path in PROTOS.glob("loreline/*/v1/*.proto"))
    includes = [f"-I{PROTOS}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    plugin = Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy_grpc"  # beside this Python, activated or not
    named = [f"--plugin={plugin}"] if plugin.exists() else []
    typed = [*named, f"--mypy_grpc_out=quiet:{folder}"]
    if protoc.main(["protoc", *includes, *outputs, *typed, *contracts]) != 0:
        raise RuntimeError("protoc failed: its message stands above")
    for package in folder.glob("loreline/*/v1"):
        (package / "__init__.py").touch()  # the import rule is checked on regular packages


class GenerateStubs(BuildHookInterface[Any]):
    """Hatch's build hook: stubs are generated, never committed, so that they cannot drift."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate()


if __name__ == "__main__":
    generate()
