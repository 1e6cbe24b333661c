"""Renders versions that score texts: language model, networks, and an ensemble of both for each network.

    unictr-3-movies            the ensemble that ranking asks: token ids and mask in, logits out
    unictr-3.language_model    what all of the version's ensembles begin with
    unictr-3.network-movies    what this one ends with

The version is in the names: an ensemble says of its parts one version or the newest, so with a folder for each version
it would mix the parts of two, or serve only one.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.triton.repository_files import TYPES, CannotRender, appearing, open_session, put_program
from services.model_registry import Manifest
from services.model_registry.triton_names import ensemble_name, language_model_name, network_name
from services.model_registry.unictr_files import (
    ATTENTION_MASK,
    LANGUAGE_MODEL_FILE,
    LOGITS,
    SEQUENCE_INPUTS,
    STATES,
    network_file,
    networks_of,
)

Config = model_config_pb2.ModelConfig
ONLY_VERSION = "1"
TENSORS = {"tensor(int64)": TYPES["int64"], "tensor(float)": TYPES["float32"]}
SEQUENCE_DIMS = [-1, -1]


@dataclass(frozen=True)
class NetworkModel:
    """One model's folder to be: its configuration, and the exported file that it runs; an ensemble has none."""

    config: Config
    source: Path | None = None


def check_networks(manifest: Manifest, folder: Path, output: Path, backend: str) -> list[NetworkModel]:
    """What a version of kind unictr is rendered as, parts before ensembles; writes nothing. Raises CannotRender."""
    models = list(_models(manifest, folder, backend))
    for model in models:
        _is_rendered(model, output / model.config.name, backend)
    return models


def render_networks(models: Sequence[NetworkModel], output: Path, backend: str) -> list[Path]:
    """Write what `check_networks` gave, and return the ensembles' folders. Raises CannotRender, OSError."""
    output.mkdir(parents=True, exist_ok=True)
    for model in models:
        if not _is_rendered(model, output / model.config.name, backend):
            _write(model, output / model.config.name, backend)
    return [output / model.config.name for model in models if model.source is None]


def _models(manifest: Manifest, folder: Path, backend: str) -> Iterator[NetworkModel]:
    version, networks = manifest.version, networks_of(manifest)
    language_model = language_model_name(version)
    yield _part(language_model, folder / LANGUAGE_MODEL_FILE, backend, set(SEQUENCE_INPUTS), STATES)
    for name in networks:
        yield _part(network_name(version, name), folder / network_file(name), backend, {STATES, ATTENTION_MASK}, LOGITS)
    for name in networks:
        yield NetworkModel(_ensemble(ensemble_name(version, name), language_model, network_name(version, name)))


def _part(name: str, path: Path, backend: str, inputs: set[str], output: str) -> NetworkModel:
    session = open_session(path)
    found = {value.name for value in session.get_inputs()}, [value.name for value in session.get_outputs()]
    if found != (inputs, [output]):
        raise CannotRender(
            f"{path} has inputs {sorted(found[0])} and outputs {found[1]}, expected {sorted(inputs)} and [{output!r}]"
        )
    config = Config(
        name=name,
        backend=backend,
        max_batch_size=0,  # a request is a batch of sequences of similar length already
        default_model_filename="model.py" if backend == "python" else path.name,
        input=[_tensor(model_config_pb2.ModelInput, value) for value in session.get_inputs()],
        output=[_tensor(model_config_pb2.ModelOutput, value) for value in session.get_outputs()],
        instance_group=[model_config_pb2.ModelInstanceGroup(kind=model_config_pb2.ModelInstanceGroup.KIND_AUTO)],
    )
    return NetworkModel(config, path)


def _tensor(
    kind: type[model_config_pb2.ModelInput | model_config_pb2.ModelOutput], value: onnxruntime.NodeArg
) -> model_config_pb2.ModelInput | model_config_pb2.ModelOutput:
    dims = [size if isinstance(size, int) else -1 for size in value.shape]
    return kind(name=value.name, data_type=TENSORS[value.type], dims=dims)


def _ensemble(name: str, language_model: str, network: str) -> Config:
    sequences = {key: key for key in SEQUENCE_INPUTS}
    steps = [
        _step(language_model, sequences, {STATES: STATES}),
        _step(network, {STATES: STATES, ATTENTION_MASK: ATTENTION_MASK}, {LOGITS: LOGITS}),
    ]
    return Config(
        name=name,
        platform="ensemble",
        max_batch_size=0,
        input=[
            model_config_pb2.ModelInput(name=key, data_type=TYPES["int64"], dims=SEQUENCE_DIMS) for key in sequences
        ],
        output=[model_config_pb2.ModelOutput(name=LOGITS, data_type=TYPES["float32"], dims=[-1])],
        ensemble_scheduling=model_config_pb2.ModelEnsembling(step=steps),
    )


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> model_config_pb2.ModelEnsembling.Step:
    return model_config_pb2.ModelEnsembling.Step(
        model_name=model, model_version=int(ONLY_VERSION), input_map=inputs, output_map=outputs
    )


def _is_rendered(model: NetworkModel, target: Path, backend: str) -> bool:
    """Whether the very same is there. Raises CannotRender when something else is."""
    if not target.exists():
        return False
    config = text_format.Parse((target / "config.pbtxt").read_text(), Config())
    if config.backend and config.backend != backend:
        raise CannotRender(f"{target} is for backend {config.backend!r}: render {backend!r} into another --output")
    files = _files(model)
    same = config == model.config and all(
        (target / ONLY_VERSION / path.name).exists()
        and filecmp.cmp(path, target / ONLY_VERSION / path.name, shallow=False)
        for path in files
    )
    if not same:
        raise CannotRender(f"{target} holds another model than this version of the registry: remove it")
    return True


def _files(model: NetworkModel) -> list[Path]:
    """The exported file, and what protobuf could not hold, which lies beside it under names that begin like it."""
    return sorted(model.source.parent.glob(f"{model.source.name}*")) if model.source else []


def _write(model: NetworkModel, target: Path, backend: str) -> None:
    with appearing(target) as folder:
        version = folder / ONLY_VERSION
        version.mkdir()
        for path in _files(model):
            shutil.copyfile(path, version / path.name)
        if model.source and backend == "python":
            put_program("sequence_model.py", version)
        (folder / "config.pbtxt").write_text(text_format.MessageToString(model.config))
