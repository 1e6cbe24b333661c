"""Resuming, several processes, and what the loop reports."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from services.trainer.data.datasets import Dataset
from services.trainer.training.checkpoint import Checkpoint
from services.trainer.training.config import InvalidConfig, TrainingConfig, read_config
from services.trainer.training.loop import Epoch, EpochProgress
from services.trainer.training.run import RunObserver, TrainingData, gather, train_network
from services.trainer.training.tensorboard import with_tensorboard

SMALL = {"embedding_width": 8, "history_length": 8, "batch_size": 64, "epochs": 4, "patience": 4, "shared_experts": 1}


class Interrupted(Exception):
    """Stands for a machine that goes away."""


def config_of(name: str = "dcnv2", **changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(read_config(name).model_dump() | SMALL | changes)


@pytest.fixture(scope="module")
def data(dataset: Dataset, feature_directory: Path) -> TrainingData:
    """The small catalogue's samples and knowledge."""
    return gather(dataset, feature_directory, config_of())


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("break_after", [11, 20])
def test_a_resumed_run_equals_an_uninterrupted_one(data: TrainingData, tmp_path: Path, break_after: int) -> None:
    """Broken off in the middle of an epoch, with dropout and hidden ids drawn at random: bit for bit the same."""
    config = config_of("din")
    whole, epochs = train_network(data, config, augmented=True)
    steps: list[EpochProgress] = []

    def interrupt(_: str, progress: EpochProgress) -> None:
        steps.append(progress)
        if len(steps) == break_after:
            raise Interrupted

    checkpoint = Checkpoint(tmp_path / "run.pt", every_steps=3)
    with pytest.raises(Interrupted):
        train_network(data, config, True, checkpoint, observer=RunObserver(progress=interrupt))
    resumed, epochs_again = train_network(data, config, True, checkpoint)

    assert [e.validation for e in epochs_again] == [e.validation for e in epochs]
    assert [e.loss for e in epochs_again] == pytest.approx([e.loss for e in epochs], abs=1e-9)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_run_that_was_through_trains_nothing_again(data: TrainingData, tmp_path: Path) -> None:
    """Its checkpoint holds the best weights."""
    checkpoint, told = Checkpoint(tmp_path / "run.pt"), []
    first, _ = train_network(data, config_of(), False, checkpoint)
    again, _ = train_network(
        data, config_of(), False, checkpoint, observer=RunObserver(progress=lambda *p: told.append(p))
    )
    assert told == []
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


def test_the_learning_rate_falls_to_zero_over_the_real_steps(data: TrainingData) -> None:
    """A cosine over epochs times batches, not over samples: the last epoch hardly moves the weights any more."""
    losses: list[Epoch] = []
    config = config_of(epochs=6, patience=6, id_dropout=0.0, dropout=0.0)
    train_network(data, config, False, observer=RunObserver(epoch=lambda _, epoch: losses.append(epoch)))
    moved = [abs(a.validation["logloss"] - b.validation["logloss"]) for a, b in itertools.pairwise(losses)]
    assert moved[-1] < moved[0] / 10


def test_the_loop_reports_samples_per_second_and_where_it_stands(data: TrainingData) -> None:
    """Every step, and the last one of an epoch with all samples done."""
    seen: list[EpochProgress] = []
    train_network(data, config_of(epochs=1), False, observer=RunObserver(progress=lambda _, at: seen.append(at)))
    assert seen[-1].done == seen[-1].total == len(data.split.training)
    assert all(progress.samples_per_second > 0 for progress in seen)


def test_backbone_options_reach_the_backbone(data: TrainingData) -> None:
    """Two crosses instead of three."""
    sizes = []
    for crosses in (2, 3):
        network, _ = train_network(data, config_of(epochs=1, backbone_options={"crosses": crosses}), False)
        sizes.append(len(network.state_dict()))
    assert sizes[1] - sizes[0] == 2  # a weight and a bias


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "wide"}, "backbone: must be one of autoint"),
        ({"backbone_options": {"crosse": 2}}, "backbone_options: dcnv2 refuses them"),
        ({"task": "re-ranking"}, "backbone: must be one of dlcm"),
    ],
)
def test_what_a_backbone_cannot_be_is_refused_by_name(
    data: TrainingData, changes: dict[str, object], words: str
) -> None:
    """Before any hour is spent."""
    with pytest.raises(InvalidConfig, match=words):
        train_network(data, config_of(**changes), False)


def test_two_processes_train_what_one_does(dataset: Dataset, feature_directory: Path, tmp_path: Path) -> None:
    """Under torchrun over gloo; without dropout, as each process draws its own.

    The last batch holds one sample, which one process has alone. A resumed process goes on with its own random numbers.
    """
    config = config_of(dropout=0.0, id_dropout=0.0, knowledge_dropout=0.0, epochs=2)
    data = gather(dataset, feature_directory, config)
    count = len(data.split.training)
    config = config.model_copy(update={"batch_size": next(size for size in range(64, count) if count % size == 1)})
    alone, epochs = train_network(data, config, augmented=True)
    request, result = tmp_path / "request.pkl", tmp_path / "result.pt"
    request.write_bytes(pickle.dumps((dataset, config)))
    program = [
        str(Path(__file__).with_name("train_in_processes.py")),
        str(request),
        str(feature_directory),
        str(result),
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, *program], check=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"})
    state, auc, drawn = torch.load(result, weights_only=True)
    assert auc == pytest.approx([epoch.validation["auc"] for epoch in epochs], abs=1e-4)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-4, rtol=1e-3)
    assert all(first == again for first, again in drawn)
    assert drawn[0] != drawn[1]


def test_metrics_of_every_epoch_are_written_for_tensorboard(data: TrainingData, tmp_path: Path) -> None:
    """Loss, validation metrics and samples/s, and the observer behind is told as well."""
    told: list[Epoch] = []
    observer = with_tensorboard(RunObserver(epoch=lambda _, epoch: told.append(epoch)), tmp_path)
    train_network(data, config_of(epochs=2), False, name="off", observer=observer)
    events = EventAccumulator(str(tmp_path / "knowledge-off"))
    events.Reload()
    written = [scalar.value for scalar in events.Scalars("validation/auc")]
    assert written == pytest.approx([epoch.validation["auc"] for epoch in told])
    assert {"training/loss", "training/samples_per_second"} <= set(events.Tags()["scalars"])


def test_bfloat16_computes_close_to_float32(data: TrainingData) -> None:
    """The weights stay float32."""
    config = config_of(dropout=0.0, id_dropout=0.0, knowledge_dropout=0.0, epochs=2)
    full, half = (
        train_network(data, config.model_copy(update={"precision": precision}), True)
        for precision in ("float32", "bfloat16")
    )
    assert all(value.dtype == torch.float32 for value in half[0].state_dict().values() if value.is_floating_point())
    auc = [epochs[-1].validation["auc"] for _, epochs in (full, half)]
    assert auc[1] == pytest.approx(auc[0], abs=0.02)
    assert auc[1] != auc[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # by torch itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
def test_a_compiled_network_trains_like_a_plain_one(data: TrainingData) -> None:
    """To the rounding of another order of sums."""
    config = config_of("dcn", dropout=0.0, id_dropout=0.0, knowledge_dropout=0.0, epochs=2)
    plain, compiled = (
        train_network(data, config.model_copy(update={"compile": chosen}), True)[1] for chosen in (False, True)
    )
    assert compiled[-1].validation["auc"] == pytest.approx(plain[-1].validation["auc"], abs=1e-3)
