"""Renders versions that score stored features: one Triton model a kind, with a folder for each version.

Triton joins requests of one candidate count to batches along B; other counts run alone.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.triton.repository_files import (
    TYPES,
    CannotRender,
    appearing,
    open_session,
    put_program,
    write_when_changed,
)
from services.model_registry import SCORER_OUTPUT, Manifest, ModelRegistry, scorer_inputs_of
from services.model_registry.triton_names import MODEL_NAMES

MAX_BATCH_SIZE = 16
MAX_QUEUE_DELAY_MICROSECONDS = 300
WARM_UP_CANDIDATES = 200
ONNX_TYPES = {"int64": "tensor(int64)", "float32": "tensor(float)"}


def render_scorers(registry: ModelRegistry, manifests: Sequence[Manifest], output: Path, backend: str) -> Path:
    """Render versions of one kind and return the model's folder. Raises CannotRender, OSError."""
    config = model_config(manifests, backend)
    model = output / config.name
    new = [manifest for manifest in manifests if not _is_rendered(registry, manifest.version, model)]
    model.mkdir(parents=True, exist_ok=True)
    for manifest in new:
        _render_version(registry.folder(manifest.version), model / manifest.version, backend)
    write_when_changed(model / "config.pbtxt", text_format.MessageToString(config))
    return model


def check_scorers(registry: ModelRegistry, manifests: Sequence[Manifest], output: Path, backend: str) -> None:
    """Whether versions of one kind can be rendered; writes nothing. Raises CannotRender."""
    config = model_config(manifests, backend)
    _check_same_model(config, output / config.name / "config.pbtxt")
    for manifest in manifests:
        if not _is_rendered(registry, manifest.version, output / config.name):
            check_scorer(registry.folder(manifest.version) / "scorer.onnx", manifest)


def model_config(manifests: Sequence[Manifest], backend: str) -> model_config_pb2.ModelConfig:
    """Triton's configuration for versions of one kind that all have the same widths. Raises CannotRender."""
    sizes = {manifest.version: _sizes(manifest) for manifest in manifests}
    newest = sizes[manifests[-1].version]
    if different := sorted(version for version, size in sizes.items() if size != newest):
        raise CannotRender(
            f"versions {', '.join(different)} have other widths than {manifests[-1].version}: "
            "a Triton model has one shape, render them into an --output of their own"
        )
    warm_up = model_config_pb2.ModelWarmup(name="zeros", batch_size=1)
    config = model_config_pb2.ModelConfig(
        name=MODEL_NAMES[manifests[0].kind],
        backend=backend,
        max_batch_size=MAX_BATCH_SIZE,
        output=[model_config_pb2.ModelOutput(name=SCORER_OUTPUT, data_type=TYPES["float32"], dims=[-1])],
        dynamic_batching=model_config_pb2.ModelDynamicBatching(
            max_queue_delay_microseconds=MAX_QUEUE_DELAY_MICROSECONDS
        ),
        instance_group=[model_config_pb2.ModelInstanceGroup(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)],
        version_policy=model_config_pb2.ModelVersionPolicy(all=model_config_pb2.ModelVersionPolicy.All()),
    )
    for name, (dtype, (_, *letters)) in scorer_inputs_of(manifests[0].kind).items():
        dims = [newest[letter] for letter in letters] or [1]
        value = model_config_pb2.ModelInput(name=name, data_type=TYPES[dtype], dims=dims)
        if not letters:  # a number for each user: Triton knows no input without an axis, and takes it off again
            value.reshape.CopyFrom(model_config_pb2.ModelTensorReshape())
        config.input.append(value)
        zeros = [WARM_UP_CANDIDATES if size == -1 else size for size in dims]
        warm_up.inputs[name].CopyFrom(
            model_config_pb2.ModelWarmup.Input(data_type=TYPES[dtype], dims=zeros, zero_data=True)
        )
    config.model_warmup.append(warm_up)
    return config


def check_scorer(path: Path, manifest: Manifest) -> None:
    """Compare an exported scorer with the registry's contract and its manifest. Raises CannotRender."""
    session, sizes = open_session(path), _sizes(manifest)
    expected = {
        name: (ONNX_TYPES[dtype], [sizes.get(letter, -1) for letter in letters])
        for name, (dtype, letters) in scorer_inputs_of(manifest.kind).items()
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
    with appearing(target) as folder:
        shutil.copyfile(source / "scorer.onnx", folder / "model.onnx")
        if backend == "python":
            put_program("model.py", folder)
