"""What the `loreline models` commands promote with: clients, scorers to verify, and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from rich.progress import Progress
from tritonclient.utils import InferenceServerException

from loreline.client import EmbeddingClient, FeaturesClient
from services.cli import output
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, NotReady
from services.cli.settings import CliSettings
from services.model_registry import (
    Manifest,
    ModelRegistry,
    NoSuchVersion,
    OtherCandidate,
    VersionRefused,
    verify_networks,
)
from services.model_registry.unictr_files import ATTENTION_MASK, INPUT_IDS, networks_of
from services.ranking.scorers import Scorer
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.ranking.scorers.triton import TritonModel, TritonScorer, network_model, scorer_model
from services.runtime.errors import PlatformError
from services.trainer.release.promotion import EncoderMismatch, Promoter, Proof, proof_of

POLL_SECONDS = 0.2


@contextmanager
def open_promoter(settings: CliSettings) -> Iterator[Promoter]:
    """A promoter of the home's registry that shows what it does. Errors become BadInput, NotReady, ClientError."""
    processes, registry = LocalProcesses(settings), ModelRegistry(settings.model_registry)
    with promotion_errors(), ExitStack() as stack:
        features = stack.enter_context(FeaturesClient(processes.address("features")))
        embedding = stack.enter_context(EmbeddingClient(processes.address("embedding")))
        bar = stack.enter_context(
            Progress(console=output.console, transient=True, disable=not output.console.is_terminal)
        )
        task = bar.add_task("adapting stored vectors", total=None)
        yield Promoter(
            registry,
            features,
            embedding,
            scorers=partial(_proofs, settings, registry, stack),
            progress=lambda _, count: bar.advance(task, count),
            verified=_tell,
        )


@contextmanager
def promotion_errors() -> Iterator[None]:
    """What a promotion raises, as what commands raise."""
    try:
        yield
    except (NoSuchVersion, OtherCandidate) as error:
        raise BadInput(str(error)) from error
    except (VersionRefused, EncoderMismatch, PlatformError) as error:
        raise NotReady(str(error)) from error


def _proofs(settings: CliSettings, registry: ModelRegistry, stack: ExitStack, version: str) -> Mapping[str, Proof]:
    """What lets a version prove itself in this process and in each Triton server, by the place's name."""
    manifest = registry.manifest(version)
    proofs = {"in this process": _proof(_opened(registry, manifest, ScorerOptions()))}
    for address in filter(None, settings.triton_address.split(",")):
        client = triton.InferenceServerClient(address)
        stack.callback(client.close)
        for model in _triton_models(manifest).values():
            load(client, address, model, settings.triton_load_timeout_seconds)
        seconds = settings.triton_load_timeout_seconds
        far = {name: TritonScorer(client, model, seconds) for name, model in _triton_models(manifest).items()}
        proofs[f"in Triton at {address}"] = _proof(far)
    return proofs


def _opened(registry: ModelRegistry, manifest: Manifest, options: ScorerOptions) -> Mapping[str, Scorer]:
    """The version's scorers by the network's name; of a version that scores stored features one, without a name."""
    folder, opener = registry.folder(manifest.version), ScorerOpener(options)
    try:
        return {"": opener.open(manifest, folder)} if manifest.has_adaptor else opener.open_networks(manifest, folder)
    except Exception as error:  # onnxruntime has a class for each cause and none above them
        raise VersionRefused(f"version {manifest.version} is refused: it cannot be loaded: {error}") from error


def _triton_models(manifest: Manifest) -> Mapping[str, TritonModel]:
    """Its models in Triton, by the names of `_opened`."""
    if manifest.has_adaptor:
        return {"": scorer_model(manifest.version, manifest.kind)}
    return {name: network_model(manifest.version, name) for name in networks_of(manifest)}


def _proof(scorers: Mapping[str, Scorer]) -> Proof:
    if "" in scorers:
        return proof_of(lambda inputs: scorers[""].score(inputs).values)

    def score(network: str, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return scorers[network].score({INPUT_IDS: ids, ATTENTION_MASK: mask}).values

    return lambda manifest, folder: verify_networks(score, manifest, folder)


def load(client: triton.InferenceServerClient, address: str, model: TritonModel, timeout_seconds: float) -> None:
    """Have Triton load a model, or wait until it has found it by itself. Raises NotReady."""
    said = ""
    try:
        client.load_model(model.name, client_timeout=timeout_seconds)
    except InferenceServerException as error:  # a server that polls refuses, and loads all the same
        said = str(error.message())
    deadline = time.monotonic() + timeout_seconds
    while not TritonScorer(client, model).ready():
        if time.monotonic() > deadline:
            raise NotReady(
                f"Triton at {address} has not loaded version {model.version} of {model.name} within "
                f"{timeout_seconds:.0f} s: render it into the server's model repository (python -m "
                f"deploy.triton.render). Triton said: {said or 'nothing'}"
            )
        time.sleep(POLL_SECONDS)


def _tell(place: str, difference: float | None) -> None:
    if place == "its files":
        return
    proof = f"agrees with the trained network to {difference:.1e}" if difference is not None else (
        "gives finite numbers of the right shape; the version has no golden set to compare with"
    )  # fmt: skip
    output.console.print(f"{place}: {proof}", highlight=False, soft_wrap=True)
