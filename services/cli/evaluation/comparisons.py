"""The steps behind `loreline evaluate`. Imported only when it runs: PyTorch and matplotlib take seconds to load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.cli import output
from services.cli.settings import CliSettings
from services.cli.training.runs import progress_observer, training_errors
from services.trainer.data.datasets import Dataset
from services.trainer.training.config import TrainingConfig
from services.trainer.training.experiments import Comparison, Experiment
from services.trainer.training.run import TrainingData, gather

DATA_FIELDS = ("task", "protocol", "split_seed", "memory_map", "list_loss", "temperature")


def compare(
    settings: CliSettings,
    dataset: Dataset,
    wanted: Mapping[str, TrainingConfig],
    seeds: int,
    folder: Path,
    show: bool,
) -> list[Comparison]:
    """One comparison for each config, by its label. Raises BadInput, NotReady."""
    gathered: dict[tuple[Any, ...], TrainingData] = {}
    found = []
    with training_errors():
        for label, config in wanted.items():
            parts = tuple(getattr(config, field) for field in DATA_FIELDS)
            if parts not in gathered:
                gathered[parts] = gather(dataset, settings.feature_directory, config)
            with progress_observer(config, show) as observer:
                experiment = Experiment(gathered[parts], folder, observer)
                found.append(experiment.compare(label, config, range(config.seed, config.seed + seeds)))
    return found


def write_results(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """evaluation.json, and evaluation.png and .svg: each config's metric off and on, with its deviation over seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "evaluation.json"
    results.write_text(json.dumps([asdict(comparison) for comparison in comparisons], indent=1), encoding="utf-8")
    return [results, *_plot(comparisons, folder)]


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """A table of the metrics, one of the slices, and the questions that the knowledge took."""
    for decides in dict.fromkeys(comparison.decides for comparison in comparisons):
        _print_metrics(decides, [comparison for comparison in comparisons if comparison.decides == decides])
    slices = [
        (c.label, name, int(v["samples"]), v["off"], v["on"], f"{v['on'] - v['off']:+.4f}")
        for c in comparisons
        for name, v in c.slices.items()
    ]
    if slices:
        output.print_table(
            "AUC of slices of the test part", ["config", "slice", "samples", "off", "on", "gain"], slices
        )
    for asked in dict.fromkeys(comparison.knowledge for comparison in comparisons):
        saved = asked.subjects - asked.llm_calls
        output.console.print(
            f"knowledge of {asked.subjects} items and users: {asked.llm_calls} questions, {saved} fewer than one each"
        )


def _print_metrics(decides: str, comparisons: Sequence[Comparison]) -> None:
    second = "logloss" if decides == "auc" else "ndcg@5"
    rows = [
        (
            c.label,
            f"{c.off[decides]:.4f} ±{c.off_deviation[decides]:.4f}",
            f"{c.on[decides]:.4f} ±{c.on_deviation[decides]:.4f}",
            f"{c.lift:+.2%}",
            "" if c.rela_impr is None else f"{c.rela_impr:+.2%}",
            f"{c.difference.low:+.4f} to {c.difference.high:+.4f}",
            f"{c.difference.p:.3f}",
            f"{c.off[second]:.4f}",
            f"{c.on[second]:.4f}",
        )
        for c in comparisons
    ]
    columns = ["config", f"{decides} off", "on", "lift", "RelaImpr", "gain, 95%", "p", f"{second} off", "on"]
    title = f"Test part, mean and deviation of {comparisons[0].seeds} seeds; lift: relative gain of {decides}"
    output.print_table(title, columns, rows)


def _plot(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metric = comparisons[0].decides
    shown = [comparison for comparison in comparisons if comparison.decides == metric]
    figure, axes = pyplot.subplots(figsize=(7, 1.2 + 0.4 * len(shown)), layout="constrained")
    places = range(len(shown))
    for side, colour, lift in (("off", "#8a8f98", -0.12), ("on", "#1f6f8b", 0.12)):
        axes.errorbar(
            [getattr(c, side)[metric] for c in shown],
            [place + lift for place in places],
            xerr=[getattr(c, f"{side}_deviation")[metric] for c in shown],
            fmt="o",
            color=colour,
            capsize=3,
            label=f"knowledge {side}",
        )
    axes.set_yticks(list(places), [c.label for c in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{metric.upper()} of the test part, mean and deviation of {shown[0].seeds} seeds")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    files = [folder / f"evaluation.{kind}" for kind in ("png", "svg")]
    for file in files:
        figure.savefig(file, dpi=150)
    pyplot.close(figure)
    return files
