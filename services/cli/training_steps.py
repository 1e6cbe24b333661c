"""The steps behind `loreline data load`, `knowledge build`, `train` and `demo`, with their progress bars.

Imported only when one of them runs: PyTorch, Feast and pandas take seconds to load.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from loreline.client import EmbeddingClient, KnowledgeClient
from services.cli import output
from services.cli.item_files import write_items
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, NotReady
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry
from services.scenarios import Item
from services.trainer import bulk_knowledge, offline_store
from services.trainer.collective import INDIVIDUAL, KnowledgeConfig
from services.trainer.config import InvalidConfig, TrainingConfig
from services.trainer.datasets import DATASETS, Dataset, DatasetSource, InvalidDataset, multi_domain
from services.trainer.datasets.dataset import newest_items
from services.trainer.loop import Epoch
from services.trainer.loop import Progress as Standing
from services.trainer.multi_domain.config import AnyConfig, read_any_config
from services.trainer.samples import EmptySplit
from services.trainer.training import Report, Watcher
from services.trainer.training import train as run_training
from services.wheel_assets import AssetUnavailable

METRICS = {
    "auc": "AUC",
    "logloss": "LogLoss",
    "gauc": "GAUC",
    **{f"{name}@{cut}": f"{title}@{cut}" for name, title in (("map", "MAP"), ("ndcg", "NDCG")) for cut in (1, 3, 5, 7)},
}
KNOWLEDGE_TIMEOUT_SECONDS = 600.0
HELD_OUT = 40


def dataset_source(paths: Sequence[Path], options: Sequence[str]) -> DatasetSource:
    """Paths, and options as NAME=VALUE. Raises BadInput."""
    pairs = [option.partition("=") for option in options]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise BadInput(f"--option: must be NAME=VALUE, is {name + equals + value!r}")
    return DatasetSource(tuple(paths), {name: value for name, _, value in pairs})


def load_dataset(
    settings: CliSettings, name: str, source: DatasetSource, hold_out: int | None = None
) -> tuple[Dataset, list[Item]]:
    """Load a dataset but for its newest items; returns it and them. Raises BadInput, NotReady.

    Without a number HELD_OUT of them are kept out; of several domains none, whose figures are those of all items.
    """
    if name not in DATASETS:
        raise BadInput(f"there is no dataset {name!r}: must be one of {', '.join(DATASETS)}")
    if hold_out is None:
        hold_out = 0 if name == multi_domain.NAME else HELD_OUT
    refuse_while_features_runs(settings)
    found = DatasetSource(tuple(path.absolute() for path in source.paths), source.options)
    dataset, held_out = _dataset(name, found, hold_out)
    offline_store.load_catalogue(dataset, settings.feature_directory)
    write_items(settings.new_items_file, held_out)
    settings.dataset_file.write_text(
        json.dumps(
            {
                "name": name,
                "paths": [str(path) for path in found.paths],
                "options": dict(found.options),
                "hold_out": hold_out,
            }
        )
    )
    return dataset, held_out


def loaded_dataset(settings: CliSettings) -> Dataset:
    """The dataset as it was loaded. Raises NotReady when none was."""
    try:
        record = json.loads(settings.dataset_file.read_text())
    except FileNotFoundError as error:
        raise NotReady("no dataset is loaded: run `loreline data load` first") from error
    source = DatasetSource(tuple(map(Path, record.get("paths", []))), record.get("options", {}))
    return _dataset(record["name"], source, record["hold_out"])[0]


def build_knowledge(
    settings: CliSettings,
    dataset: Dataset,
    provider: str,
    subject: str = "both",
    config: KnowledgeConfig = INDIVIDUAL,
) -> dict[str, int]:
    """Knowledge of all items and users, or of one kind, loaded; returns how many, in collective mode the calls saved.

    Raises NotReady, ClientError.
    """
    refuse_while_features_runs(settings)
    processes = LocalProcesses(settings)
    items = list(dataset.items.values()) if subject != "user" else []
    users = [history for history, _ in offline_store.preference_histories(dataset)] if subject != "item" else []
    with (
        KnowledgeClient(processes.address("knowledge"), KNOWLEDGE_TIMEOUT_SECONDS) as knowledge,
        EmbeddingClient(processes.address("embedding"), KNOWLEDGE_TIMEOUT_SECONDS) as embedding,
        progress_bar() as bar,
        training_errors(),
    ):
        if config.mode == "collective":
            task = bar.add_task("contents and groups: text, then vector", total=len(items) + 2 * config.clusters)
            found = bulk_knowledge.collective_knowledge(
                items, users, knowledge, embedding, lambda n: bar.advance(task, n), config, provider
            )
            offline_store.load_knowledge(dataset, found.items, found.users, settings.feature_directory)
            saved = {"llm_calls": found.llm_calls, "llm_calls_saved": found.llm_calls_saved}
            return {"items": len(found.items), "users": len(found.users), **saved}
        of_items = bar.add_task("items: text, then vector", total=len(items))
        of_users = bar.add_task("users: text, then vector", total=len(users))
        item_rows = [
            row
            for scenario in dict.fromkeys(item.scenario for item in items)
            for row in bulk_knowledge.item_knowledge(
                [item for item in items if item.scenario == scenario],
                knowledge,
                embedding,
                lambda n: bar.advance(of_items, n),
                provider,
            )
        ]
        user_rows = bulk_knowledge.user_knowledge(
            users, dataset.scenario, knowledge, embedding, lambda n: bar.advance(of_users, n), provider
        )
        offline_store.load_knowledge(dataset, item_rows, user_rows, settings.feature_directory)
    return {"items": len(item_rows), "users": len(user_rows)}


def train_version(
    settings: CliSettings,
    dataset: Dataset,
    config: TrainingConfig,
    tensorboard: Path | None = None,
    checkpoint_steps: int = 0,
    show: bool = True,
) -> Report:
    """Train and register the next version, with a progress bar. Raises BadInput, NotReady.

    A run that was broken off goes on from its checkpoints; they go when the version is registered.
    """
    registry, checkpoints = ModelRegistry(settings.model_registry), settings.checkpoint_directory
    with training_errors(), progress_watcher(config, show) as watcher:
        if tensorboard:
            from services.trainer.tensorboard import with_tensorboard

            watcher = with_tensorboard(watcher, tensorboard)
        report = run_training(
            dataset, settings.feature_directory, registry, config, watcher, checkpoints, checkpoint_steps
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    return report


@contextmanager
def progress_watcher(config: AnyConfig, show: bool = True) -> Iterator[Watcher]:
    """Shows a bar for each network, with its samples/s and the metric that decides."""
    prefix = "knowledge " if isinstance(config, TrainingConfig) else ""
    with progress_bar(show) as bar:
        networks: dict[str, TaskID] = {}
        decided: dict[str, str] = {}

        def on_stage(text: str) -> None:
            networks.clear()
            if show:
                bar.console.print(f"  {text}")

        def on_progress(name: str, at: Standing) -> None:
            if name not in networks:
                networks[name] = bar.add_task("", total=at.total * config.epochs)
            text = f"{prefix}{name}, {at.samples_per_second:,.0f} samples/s{decided.get(name, '')}"
            bar.update(networks[name], completed=(at.epoch - 1) * at.total + at.done, description=text)

        def on_epoch(name: str, epoch: Epoch) -> None:
            metric = next(iter(epoch.validation))
            decided[name] = f", validation {metric} {epoch.validation[metric]:.4f}"

        yield Watcher(on_stage, on_epoch, on_progress)


def print_report(report: Report) -> None:
    """The metrics with knowledge off and on, and the difference."""
    rows = [
        (
            title,
            report.knowledge_off[name],
            report.knowledge_on[name],
            f"{report.knowledge_on[name] - report.knowledge_off[name]:+.4f}",
            report.knowledge_withheld[name],
        )
        for name, title in METRICS.items()
        if name in report.knowledge_on
    ]
    columns = ["test part", "knowledge off", "knowledge on", "difference", "on, but withheld"]
    title = f"Re-ranker {report.version} of model version {report.base_version}" if report.base_version else None
    output.print_table(title or f"Model version {report.version}", columns, rows)
    output.console.print(
        f"{report.training_samples} training, {report.validation_samples} validation and {report.test_samples} test "
        "samples, in this order of time; `withheld` is the network with knowledge, asked without",
        style="dim",
    )


def _dataset(name: str, source: DatasetSource, hold_out: int) -> tuple[Dataset, list[Item]]:
    try:
        dataset = DATASETS[name](source)
    except AssetUnavailable as error:
        raise NotReady(f"the dataset cannot be fetched: {error}") from error
    except InvalidDataset as error:
        raise BadInput(str(error)) from error
    try:
        held_out = newest_items(dataset, hold_out)
    except ValueError as error:
        raise BadInput(f"--hold-out: {error}") from error
    return dataset.without_items({item.item_id for item in held_out}), held_out


def read_training_config(name_or_path: str) -> AnyConfig:
    """A shipped config by name, or a file. Raises BadInput."""
    try:
        return read_any_config(name_or_path)
    except InvalidConfig as error:
        raise BadInput(f"--config: {error}") from error


def refuse_while_features_runs(settings: CliSettings) -> None:
    """Raises NotReady when features has the stores open."""
    if LocalProcesses(settings).status("features").live:
        raise NotReady("features is running on the stores that would be replaced: run `loreline down` first")


@contextmanager
def training_errors() -> Iterator[None]:
    """What the trainer raises, as the commands' errors."""
    try:
        yield
    except (offline_store.KnowledgeNotLoaded, EmptySplit, bulk_knowledge.KnowledgeMissing) as error:
        raise NotReady(str(error)) from error
    except InvalidConfig as error:
        raise BadInput(f"--config: {error}") from error


def progress_bar(show: bool = True) -> Progress:
    """A bar on the console for each task that is added; nothing where `show` is false."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=output.console, transient=not output.console.is_terminal, disable=not show)
