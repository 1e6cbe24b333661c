"""What all that is rendered has in common: why it cannot be, and files that a polling server never sees half of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
from tritonclient.grpc import model_config_pb2

BACKENDS = ("onnxruntime", "python")
TYPES = {"int64": model_config_pb2.TYPE_INT64, "float32": model_config_pb2.TYPE_FP32}


class CannotRender(Exception):
    """The registry does not allow it; the message says why and what to do."""


def check_backend(backend: str) -> None:
    """Raises CannotRender for a backend that nothing is rendered for."""
    if backend not in BACKENDS:
        raise CannotRender(f"backend must be one of {', '.join(BACKENDS)}, is {backend!r}")


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An exported file as ONNX Runtime loads it. Raises CannotRender."""
    if not path.exists():
        raise CannotRender(f"{path} is missing: train the version again")
    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each cause and none above them
        raise CannotRender(f"{path} is not a model that ONNX Runtime can load: {error}") from error


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the target's place in one step."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rendering-") as scratch:
        folder = Path(scratch) / "folder"
        folder.mkdir()
        yield folder
        folder.rename(target)


def put_program(name: str, version: Path) -> None:
    """Put a program of the Python backend, a file beside this one, into a version's folder."""
    shutil.copyfile(Path(__file__).with_name(name), version / "model.py")
    # A file in this place keeps Python from caching bytecode here, after which a polling server would load the model
    # once more. The server's interpreter ignores PYTHONDONTWRITEBYTECODE.
    (version / "__pycache__").touch()


def write_when_changed(path: Path, text: str) -> None:
    """Replace a file in one step, if it holds anything else."""
    if path.exists() and path.read_text() == text:
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".rendering-") as scratch:
        written = Path(scratch) / path.name
        written.write_text(text)
        written.replace(path)
