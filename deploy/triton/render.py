"""Renders Triton's model repository from the model registry: one model, `scorer`, with a folder for each version.

    python -m deploy.triton.render --registry .loreline/models --output triton-models --backend python

Both backends serve the same exported file. `onnxruntime` is in the production image; `python` is for servers that
carry only the Python backend. Rendering again adds what is new and writes nothing else: a polling server loads anew
whatever was written to. Triton joins requests of one candidate count to batches along B; other counts run alone.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.model_registry import SCORER_INPUTS, SCORER_OUTPUT, Manifest, ModelRegistry, NoSuchVersion

MODEL = "scorer"  # the name by which ranking asks for it
BACKENDS = ("onnxruntime", "python")
MAX_BATCH_SIZE = 16
MAX_QUEUE_DELAY_MICROSECONDS = 300
WARM_UP_CANDIDATES = 200
ONNX_TYPES = {"int64": "tensor(int64)", "float32": "tensor(float)"}
TYPES = {"int64": model_config_pb2.TYPE_INT64, "float32": model_config_pb2.TYPE_FP32}


class CannotRender(Exception):
    """The registry does not allow it; the message says why and what to do."""


def render(registry: ModelRegistry, output: Path, backend: str, versions: Sequence[str] = ()) -> Path:
    """Render versions (all, when none is named) and return the model's folder. Raises CannotRender.

    Nothing is written before everything is checked. Raises OSError when `output` cannot be written.
    """
    manifests = _manifests(registry, versions)
    config = model_config(manifests, backend)
    model = output / MODEL
    _check_same_model(config, model / "config.pbtxt")
    new = [manifest for manifest in manifests if not _is_rendered(registry, manifest.version, model)]
    for manifest in new:
        check_scorer(registry.folder(manifest.version) / "scorer.onnx", manifest)
    model.mkdir(parents=True, exist_ok=True)
    for manifest in new:
        _render_version(registry.folder(manifest.version), model / manifest.version, backend)
    _write_when_changed(model / "config.pbtxt", text_format.MessageToString(config))
    return model


def model_config(manifests: Sequence[Manifest], backend: str) -> model_config_pb2.ModelConfig:
    """Triton's configuration for versions that all have the same widths. Raises CannotRender."""
    if backend not in BACKENDS:
        raise CannotRender(f"backend must be one of {', '.join(BACKENDS)}, is {backend!r}")
    sizes = {manifest.version: _sizes(manifest) for manifest in manifests}
    newest = sizes[manifests[-1].version]
    if different := sorted(version for version, size in sizes.items() if size != newest):
        raise CannotRender(
            f"versions {', '.join(different)} have other widths than {manifests[-1].version}: "
            "a Triton model has one shape, render them into an --output of their own"
        )
    warm_up = model_config_pb2.ModelWarmup(name="zeros", batch_size=1)
    config = model_config_pb2.ModelConfig(
        name=MODEL,
        backend=backend,
        max_batch_size=MAX_BATCH_SIZE,
        output=[model_config_pb2.ModelOutput(name=SCORER_OUTPUT, data_type=TYPES["float32"], dims=[-1])],
        dynamic_batching=model_config_pb2.ModelDynamicBatching(
            max_queue_delay_microseconds=MAX_QUEUE_DELAY_MICROSECONDS
        ),
        instance_group=[model_config_pb2.ModelInstanceGroup(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)],
        version_policy=model_config_pb2.ModelVersionPolicy(all=model_config_pb2.ModelVersionPolicy.All()),
    )
    for name, (dtype, (_, *letters)) in SCORER_INPUTS.items():
        dims = [newest[letter] for letter in letters]
        config.input.append(model_config_pb2.ModelInput(name=name, data_type=TYPES[dtype], dims=dims))
        zeros = [WARM_UP_CANDIDATES if size == -1 else size for size in dims]
        warm_up.inputs[name].CopyFrom(
            model_config_pb2.ModelWarmup.Input(data_type=TYPES[dtype], dims=zeros, zero_data=True)
        )
    config.model_warmup.append(warm_up)
    return config


def check_scorer(path: Path, manifest: Manifest) -> None:
    """Compare an exported scorer with the registry's contract and its manifest. Raises CannotRender."""
    if not path.exists():
        raise CannotRender(f"{path} is missing: train the version again")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each cause and none above them
        raise CannotRender(f"{path} is not a model that ONNX Runtime can load: {error}") from error
    sizes = _sizes(manifest)
    expected = {
        name: (ONNX_TYPES[dtype], [sizes.get(letter, -1) for letter in letters])
        for name, (dtype, letters) in SCORER_INPUTS.items()
    }
    found = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    if found.keys() != expected.keys():
        raise CannotRender(f"{path} has inputs {sorted(found)}, expected {sorted(expected)}")
    for name, (kind, shape) in found.items():
        if kind != expected[name][0] or not _fits(shape, expected[name][1]):
            raise CannotRender(f"{path}: input {name!r} is {kind} {shape}, expected {expected[name]} (-1: any)")
    if SCORER_OUTPUT not in (names := [value.name for value in session.get_outputs()]):
        raise CannotRender(f"{path} has outputs {names}, expected {SCORER_OUTPUT!r}")


def _fits(shape: Sequence[int | str | None], expected: Sequence[int]) -> bool:
    """A size that the file leaves open fits any; one that must be open may not be fixed."""
    if len(shape) != len(expected):
        return False
    return all(not isinstance(size, int) or size == wanted for size, wanted in zip(shape, expected, strict=True))


def _manifests(registry: ModelRegistry, versions: Sequence[str]) -> list[Manifest]:
    try:
        manifests = [registry.manifest(version) for version in versions] or registry.versions()
    except NoSuchVersion as error:
        raise CannotRender(str(error)) from error
    except ValueError as error:  # a manifest, or the name of a folder
        raise CannotRender(f"{registry.root} cannot be read: {error}") from error
    if not manifests:
        raise CannotRender(f"no model version is registered in {registry.root}: train one first")
    return manifests


def _check_same_model(config: model_config_pb2.ModelConfig, path: Path) -> None:
    """The configuration holds for the versions that were rendered before, too."""
    if not path.exists():
        return
    try:
        before = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise CannotRender(f"{path} is not a configuration of Triton: {error}") from error
    if before.backend != config.backend:
        raise CannotRender(f"{path} is for backend {before.backend!r}: render {config.backend!r} into another --output")
    if list(before.input) != list(config.input):
        raise CannotRender(f"{path} holds versions of other widths: render these into another --output")


def _is_rendered(registry: ModelRegistry, version: str, model: Path) -> bool:
    source, target = registry.folder(version) / "scorer.onnx", model / version / "model.onnx"
    if not target.parent.exists():
        return False
    if not (target.exists() and source.exists() and filecmp.cmp(source, target, shallow=False)):
        raise CannotRender(f"{target.parent} holds another model than version {version} of {registry.root}: remove it")
    return True


def _sizes(manifest: Manifest) -> dict[str, int]:
    return {
        "C": -1,
        "F": len(manifest.item_fields),
        "A": manifest.augmented_dimension,
        "L": manifest.history_length,
    }


def _render_version(source: Path, target: Path, backend: str) -> None:
    """Copy a version's files in one step: a polling server must not see half a folder."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rendering-") as scratch:
        folder = Path(scratch) / "version"
        folder.mkdir()
        shutil.copyfile(source / "scorer.onnx", folder / "model.onnx")
        if backend == "python":
            shutil.copyfile(Path(__file__).with_name("model.py"), folder / "model.py")
            # A file in this place keeps Python from caching bytecode here, after which a polling server would load the
            # model once more. The server's interpreter ignores PYTHONDONTWRITEBYTECODE.
            (folder / "__pycache__").touch()
        folder.rename(target)


def _write_when_changed(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".rendering-") as scratch:
        written = Path(scratch) / path.name
        written.write_text(text)
        written.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exits with code 2 when it cannot render."""
    parser = argparse.ArgumentParser(description="Render Triton's model repository from the model registry.")
    parser.add_argument("--registry", type=Path, required=True, help="the model registry's folder")
    parser.add_argument("--output", type=Path, required=True, help="the model repository to write")
    parser.add_argument("--backend", choices=BACKENDS, default="onnxruntime")
    parser.add_argument("--version", action="append", default=[], help="a version to render; all when left out")
    given = parser.parse_args(arguments)
    try:
        model = render(ModelRegistry(given.registry), given.output, given.backend, given.version)
    except (CannotRender, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    versions = sorted((path.name for path in model.iterdir() if path.name.isdecimal()), key=int)
    sys.stdout.write(f"{model}: versions {', '.join(versions)}\n")


if __name__ == "__main__":
    main()
