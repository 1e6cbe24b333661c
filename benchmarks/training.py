"""Training samples/s and test AUC beside FuxiCTR, on the same samples, sizes, batch and threads.

    python -m venv fuxictr && fuxictr/bin/pip install torch==2.13.0 fuxictr==2.3.10
    loreline data load movielens-100k          # or another dataset
    python -m benchmarks.training --fuxictr-python fuxictr/bin/python

Networks without knowledge: DIN, DCN V2 and DeepFM with embeddings of 32. Each round trains one epoch of every network
on both sides in turn, in a fresh process; the median of the rounds counts. Epochs of --auc-epochs then give each
side's AUC, at the best epoch of its validation part.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from services.cli.settings import CliSettings
from services.cli.training_steps import loaded_dataset
from services.model_registry import PADDING
from services.scenarios import load_scenario
from services.trainer import samples as sampling
from services.trainer.columns import columns_of
from services.trainer.config import TrainingConfig, read_config
from services.trainer.datasets import Dataset
from services.trainer.evaluation import scores
from services.trainer.networks import KnowledgeTables
from services.trainer.objectives import objective_of
from services.trainer.samples import ItemTable, Samples
from services.trainer.training import Material, train_network

NETWORKS = ("din", "dcnv2", "deepfm")


def main() -> None:
    """Print the table."""
    arguments = _arguments()
    if arguments.side:
        print(json.dumps(_ours(arguments, loaded_dataset(CliSettings()))))
        return
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        config = _config("din", arguments, epochs=1)
        material = _material(loaded_dataset(CliSettings()), config)
        _write(material, config, Path(scratch))
        print(
            f"{len(material.split.training)} training samples, batch {arguments.batch_size}, "
            f"history of {arguments.history_length}, {arguments.threads} threads; "
            f"FuxiCTR's loader: {arguments.workers} process(es) more"
        )
        _compare(arguments, Path(scratch))


def _compare(arguments: argparse.Namespace, folder: Path) -> None:
    rates: dict[tuple[str, str], list[float]] = {}
    loader: list[float] = []
    for number in range(arguments.rounds):
        for name in NETWORKS:
            for side in ("loreline", "fuxictr"):
                found = _run(arguments, folder, side, name, epochs=1)
                rates.setdefault((side, name), []).extend(found["rates"])
                loader += [found["loader"]] if "loader" in found else []
        print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    quality = {
        (side, name): _run(arguments, folder, side, name, arguments.auc_epochs)
        for name in NETWORKS
        for side in ("loreline", "fuxictr")
    }
    print("network   samples/s: loreline  fuxictr  ratio    AUC: loreline  fuxictr    LogLoss: loreline  fuxictr")
    for name in NETWORKS:
        ours, theirs = (statistics.median(rates[side, name]) for side in ("loreline", "fuxictr"))
        one, two = quality["loreline", name], quality["fuxictr", name]
        print(
            f"{name:8s} {ours:20,.0f} {theirs:8,.0f} {ours / theirs:6.2f} {one['auc']:16.4f} {two['auc']:8.4f} "
            f"{one['logloss']:20.4f} {two['logloss']:8.4f}"
        )
    print(f"FuxiCTR's loader alone, without any network: {statistics.median(loader):,.0f} samples/s")


def _run(arguments: argparse.Namespace, folder: Path, side: str, name: str, epochs: int) -> dict[str, Any]:
    if side == "fuxictr":
        program = str(Path(__file__).with_name("fuxictr_training.py"))
        numbers = [epochs, arguments.threads, arguments.batch_size, arguments.workers]
        command = [arguments.fuxictr_python, program, str(folder), name, *map(str, numbers)]
    else:
        options = ("threads", "batch_size", "history_length", "protocol")
        command = [sys.executable, "-m", "benchmarks.training", "--side", name, "--auc-epochs", str(epochs)]
        for option in options:
            command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(arguments: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    config = _config(arguments.side, arguments, arguments.auc_epochs)
    material = _material(dataset, config)
    network, epochs = train_network(material, config, augmented=False)
    test = material.split.test
    found = material.objective.measure(test, scores(network, test, material.lookup(config.history_length)))
    return {"rates": [epoch.samples_per_second for epoch in epochs], "auc": found["auc"], "logloss": found["logloss"]}


def _config(name: str, arguments: argparse.Namespace, epochs: int) -> TrainingConfig:
    """The shipped config without what FuxiCTR does not have: hidden ids and dropout."""
    changes = {
        "batch_size": arguments.batch_size,
        "history_length": arguments.history_length,
        "protocol": arguments.protocol,
        "epochs": epochs,
        "patience": epochs,
        "dropout": 0.0,
        "id_dropout": 0.0,
        "gradient_norm": 10.0,
    }
    return TrainingConfig.model_validate(read_config(name).model_dump() | changes)


def _material(dataset: Dataset, config: TrainingConfig) -> Material:
    """Samples alone: nobody has knowledge."""
    columns, _ = columns_of(dataset)
    split = sampling.split(columns, sampling.impressions(columns), config.protocol, config.split_seed)
    vocabulary = sampling.vocabulary_of(dataset, columns, split.training, config.protocol)
    nothing, items = np.zeros((1, 1), dtype=np.float32), np.zeros(len(dataset.items), dtype=np.int64)
    return Material(
        scenario=dataset.scenario,
        columns=columns,
        items=ItemTable.of(dataset, vocabulary),
        vocabulary=vocabulary,
        split=split,
        tables=KnowledgeTables(nothing, nothing, items, np.zeros(columns.user_count, dtype=np.int64)),
        objective=objective_of(config, columns),
        encoder="none",
        log_hash="",
        data_hash="",
    )


def _write(material: Material, config: TrainingConfig, folder: Path) -> None:
    """The same samples for FuxiCTR: index columns, histories with padding at the end."""
    names = [f"field_{place}" for place in range(len(material.vocabulary.field_counts))]
    counts = {
        "item": material.vocabulary.item_count,
        **dict(zip(names, material.vocabulary.field_counts.values(), strict=True)),
    }
    ratings = round(load_scenario(material.scenario).maximum_rating) + 1
    sizes = {**counts, **{f"history_{name}": count for name, count in counts.items()}, "history_rating": ratings}
    (folder / "sizes.json").write_text(json.dumps({"sizes": sizes, "history_length": config.history_length}))
    for part in ("training", "validation", "test"):
        np.savez(folder / f"part_{part}.npz", **_columns(material, getattr(material.split, part), config, names))


def _columns(
    material: Material, samples: Samples, config: TrainingConfig, names: list[str]
) -> dict[str, np.ndarray[Any, Any]]:
    batch = material.lookup(config.history_length).inputs(samples, np.arange(len(samples))).batch
    found = {"item": batch.item_id[:, 0], "history_item": batch.history_item_id}
    for place, name in enumerate(names):
        found[name] = batch.item_fields[:, 0, place]
        found[f"history_{name}"] = batch.history_fields[..., place]
    found["history_rating"] = torch.where(batch.history_item_id == PADDING, 0, batch.history_rating.round().long())
    return {name: column.numpy() for name, column in found.items()} | {"label": samples.label[:, 0]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuxictr-python", default="fuxictr/bin/python", help="interpreter with fuxictr==2.3.10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--auc-epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="FuxiCTR's own default")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--history-length", type=int, default=10)
    parser.add_argument("--protocol", default="by-user", choices=["by-user", "by-time"])
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
