"""What does training cost beside FuxiCTR, on the same samples, sizes, batch and threads, and is the AUC the same?

    python -m venv fuxictr && fuxictr/bin/pip install torch==2.13.0 fuxictr==2.3.10
    loreline data load movielens-100k
    python -m benchmarks.training --fuxictr-python fuxictr/bin/python

DIN, DCN V2 and DeepFM without knowledge, of equal numbers of parameters, on the CPU. In each round every network is
trained for some epochs by Loreline as shipped, by Loreline with `precision: bfloat16`, by FuxiCTR as its NPZ loader
feeds it, and by FuxiCTR fed from memory: in turn and each in a fresh process, so that a busy moment of the machine
meets all of them. Samples/s are those of the epochs after the first, which warms up, and leave evaluation out; those of
a CPU second count all cores and loader processes, and move less when others use the machine.

All clip gradients at 10 and use Adam at 0.001 without decay; each side keeps what else its training loop does: ours
lowers the rate by a cosine, FuxiCTR's cuts it when an epoch brings nothing, and they initialise embeddings differently.
Bfloat16 pays on processors with instructions for it (AVX-512 BF16, AMX).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import describe_machine
from services.cli.output import NotReady
from services.cli.settings import CliSettings
from services.cli.training.datasets import loaded_dataset
from services.ctr.batch import rating_place, rating_places
from services.model_registry import PADDING
from services.scenarios import load_scenario
from services.trainer.data import samples as sampling
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import interaction_log
from services.trainer.data.knowledge_rows import AskedKnowledge
from services.trainer.data.samples import ItemTable, Samples
from services.trainer.training.batches import KnowledgeTables
from services.trainer.training.config import TrainingConfig, read_config
from services.trainer.training.loop import Epoch, EpochProgress
from services.trainer.training.networks import scores
from services.trainer.training.objectives import objective_of
from services.trainer.training.run import RunObserver, TrainingData, train_network

NETWORKS = ("din", "dcnv2", "deepfm")
OURS: dict[str, dict[str, Any]] = {
    "loreline": {"precision": "float32"},
    "loreline, bfloat16": {"precision": "bfloat16"},
}
THEIRS = {"fuxictr": "npz", "fuxictr, from memory": "memory"}
SIDES = (*OURS, *THEIRS)
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Run:
    """What one training came to: samples/s of each epoch by the clock and by CPU time, metrics of the test part."""

    rates: list[float]
    cpu_rates: list[float]
    auc: float
    logloss: float
    parameters: int
    versions: str


Runs = dict[tuple[str, str], list[Run]]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    if arguments.epochs < 2:
        raise SystemExit("--epochs: must be 2 or more, the first warms up")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for both sides
    try:
        dataset = loaded_dataset(CliSettings(home=arguments.home) if arguments.home else CliSettings())
    except NotReady as error:
        raise SystemExit(str(error)) from error
    if shutil.which(arguments.fuxictr_python) is None:
        raise SystemExit(f"--fuxictr-python: there is no {arguments.fuxictr_python}; --help tells how to make one")
    compare(dataset, arguments)


def compare(dataset: Dataset, arguments: argparse.Namespace) -> None:
    """Measure on a dataset and print the table."""
    data = data_of(dataset, _config("din", arguments, seed=1))
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        write_for_fuxictr(data, arguments.history_length, Path(folder))
        runs = _measure(data, Path(folder), arguments)
    print(describe_machine())
    print(f"{runs['din', 'loreline'][0].versions}; {runs['din', 'fuxictr'][0].versions}")
    print(f"load average {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")
    sizes = ", ".join(f"{len(getattr(data.split, part)):,} {part}" for part in PARTS)
    print(f"{dataset.name}, {arguments.protocol}: {sizes} samples, history of {arguments.history_length}")
    print(
        f"batch {arguments.batch_size}, {arguments.threads} threads (FuxiCTR's loader: {arguments.workers} processes "
        f"more), {arguments.rounds} rounds of {arguments.epochs} epochs"
    )
    _print(runs)


def data_of(dataset: Dataset, config: TrainingConfig) -> TrainingData:
    """Samples alone: nobody has knowledge."""
    log, _ = interaction_log(dataset)
    split = sampling.split(log, sampling.impressions(log), config.protocol, config.split_seed)
    vocabulary = sampling.vocabulary_of(dataset, log, split.training, config.protocol)
    nothing, items = np.zeros((1, 1), dtype=np.float32), np.zeros(len(dataset.items), dtype=np.int64)
    return TrainingData(
        scenario=dataset.scenario,
        log=log,
        items=ItemTable.of(dataset, vocabulary),
        vocabulary=vocabulary,
        split=split,
        tables=KnowledgeTables(nothing, nothing, items, np.zeros(log.user_count, dtype=np.int64)),
        objective=objective_of(config, log),
        encoder="none",
        asked=AskedKnowledge(0, 0),
        log_hash="",
        data_hash="",
    )


def write_for_fuxictr(data: TrainingData, history_length: int, folder: Path) -> None:
    """The same samples as columns of vocabulary indices, an NPZ file a part, and the vocabularies' sizes."""
    names = [f"field_{place}" for place in range(len(data.vocabulary.field_counts))]
    counts = [data.vocabulary.item_count, *data.vocabulary.field_counts.values()]
    sizes = dict(zip(["item", *names], counts, strict=True))
    sizes |= {f"history_{name}": count for name, count in sizes.items()}
    sizes["history_rating"] = rating_places(round(load_scenario(data.scenario).maximum_rating))
    (folder / "sizes.json").write_text(json.dumps({"sizes": sizes, "history_length": history_length}))
    for part in PARTS:
        np.savez(folder / f"{part}.npz", **_columns(data, getattr(data.split, part), history_length, names))


def _columns(data: TrainingData, samples: Samples, length: int, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """(N,) of the candidate and (N, L) of the history, padded at the end; the label (N,)."""
    batch = data.batches(length).inputs(samples, np.arange(len(samples))).batch
    found = {"item": batch.item_id[:, 0], "history_item": batch.history_item_id}
    for place, name in enumerate(names):
        found[name] = batch.item_fields[:, 0, place]
        found[f"history_{name}"] = batch.history_fields[..., place]
    place = rating_place(batch.history_rating, rating_places(round(load_scenario(data.scenario).maximum_rating)))
    found["history_rating"] = torch.where(batch.history_item_id == PADDING, 0, place)
    return {name: column.cpu().numpy() for name, column in found.items()} | {"label": samples.label[:, 0]}


def _measure(data: TrainingData, folder: Path, arguments: argparse.Namespace) -> Runs:
    runs: Runs = defaultdict(list)
    for seed in range(1, arguments.rounds + 1):
        for name in NETWORKS:
            for side in SIDES:
                run = _run(data, folder, name, side, seed, arguments)
                runs[name, side].append(run)
                rates = ", ".join(f"{rate:,.0f}" for rate in run.rates)
                print(f"round {seed}, {name}, {side}: {rates} samples/s, AUC {run.auc:.4f}", file=sys.stderr)
    return runs


def _run(data: TrainingData, folder: Path, name: str, side: str, seed: int, arguments: argparse.Namespace) -> Run:
    if side in OURS:
        config = _config(name, arguments, seed).model_copy(update=OURS[side])
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_train, data, config, arguments.threads).result()
    command = [arguments.fuxictr_python, str(Path(__file__).with_name("fuxictr_training.py")), str(folder), name]
    command += ["--feed", THEIRS[side], "--seed", str(seed)]
    for option in ("epochs", "threads", "batch_size", "workers"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def _train(data: TrainingData, config: TrainingConfig, threads: int) -> Run:
    """Our side, in a process of its own."""
    torch.set_num_threads(threads)
    samples, batch = len(data.split.training), config.batch_size
    counted = -(-samples // batch) * batch  # the loop counts its last batch as a full one
    clock = _CpuClock()
    observer = RunObserver(epoch=clock.begin, progress=clock.step)
    network, epochs = train_network(data, config, augmented=False, observer=observer)
    test = data.split.test
    found = data.objective.measure(test, scores(network, test, data.batches(config.history_length)))
    return Run(
        [epoch.samples_per_second * samples / counted for epoch in epochs],
        [samples / seconds for seconds in clock.seconds],
        found["auc"],
        found["logloss"],
        sum(parameter.numel() for parameter in network.parameters()),
        f"PyTorch {torch.__version__}",
    )


class _CpuClock:
    """CPU seconds of all threads in each epoch, its evaluation left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = _cpu_seconds()

    def step(self, _: str, progress: EpochProgress) -> None:
        """After a step: the epoch's last one ends its time."""
        if progress.done == progress.total:
            self.seconds.append(_cpu_seconds() - self.began)

    def begin(self, _: str, __: Epoch) -> None:
        """After an evaluation: the next epoch begins."""
        self.began = _cpu_seconds()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _config(name: str, arguments: argparse.Namespace, seed: int) -> TrainingConfig:
    """The shipped config without what FuxiCTR's side lacks: hidden ids, dropout, an early stop."""
    changes = {
        "batch_size": arguments.batch_size,
        "history_length": arguments.history_length,
        "protocol": arguments.protocol,
        "epochs": arguments.epochs,
        "patience": arguments.epochs,
        "seed": seed,
        "dropout": 0.0,
        "id_dropout": 0.0,
        "gradient_norm": 10.0,
        "learning_rate": 0.001,
        "weight_decay": 0.0,
    }
    return TrainingConfig.model_validate(read_config(name).model_dump() | changes)


def _print(runs: Runs) -> None:
    print(f"{'':30} parameters  samples/s (lowest - highest) ratio  per CPU s ratio     AUC LogLoss")
    for (name, side), found in runs.items():
        base, rates = runs[name, "fuxictr"], _warm(found, "rates")
        rate, cpu_rate = _median(found, "rates"), _median(found, "cpu_rates")
        auc, logloss = (statistics.fmean(getattr(run, metric) for run in found) for metric in ("auc", "logloss"))
        print(
            f"{name:8} {side:21} {found[0].parameters:10,} {rate:10,.0f} ({min(rates):7,.0f} - {max(rates):7,.0f}) "
            f"{rate / _median(base, 'rates'):5.2f} {cpu_rate:10,.0f} {cpu_rate / _median(base, 'cpu_rates'):5.2f} "
            f"{auc:7.4f} {logloss:7.4f}"
        )
    print("medians, and ratios to FuxiCTR with its loader; AUC and LogLoss of the test part, means of the rounds,")
    spread = max(statistics.pstdev(run.auc for run in found) for found in runs.values())
    print(f"at the best epoch of the validation part; largest standard deviation of an AUC: {spread:.4f}")


def _warm(runs: list[Run], kind: str) -> list[float]:
    return [rate for run in runs for rate in getattr(run, kind)[1:]]


def _median(runs: list[Run], kind: str) -> float:
    return statistics.median(_warm(runs, kind))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuxictr-python", default="fuxictr/bin/python", help="interpreter with fuxictr==2.3.10")
    parser.add_argument("--home", type=Path, help="folder of `loreline data load`; that of the settings if left out")
    parser.add_argument("--rounds", type=int, default=3, help="with seeds 1, 2, ...")
    parser.add_argument("--epochs", type=int, default=3, help="at least 2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="of FuxiCTR's loader: 1 is its default and its fastest")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--history-length", type=int, default=10)
    parser.add_argument("--protocol", default="by-user", choices=["by-user", "by-time"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
