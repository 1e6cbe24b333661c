"""The steps behind `loreline evaluate`. Imported only when it runs: PyTorch and matplotlib take seconds to load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from services.cli import output
from services.cli.output import BadInput
from services.cli.settings import CliSettings
from services.cli.training_steps import progress_watcher, read_training_config, training_errors
from services.trainer.config import TrainingConfig
from services.trainer.datasets import Dataset
from services.trainer.experiments import Comparison, Experiment, varied
from services.trainer.multi_domain.config import AnyConfig
from services.trainer.training import Material, gather

MATERIAL_FIELDS = ("task", "protocol", "split_seed", "memory_map", "list_loss", "temperature")


def wanted_configs(names: Sequence[str], changes: Sequence[str], variations: Sequence[str]) -> dict[str, AnyConfig]:
    """The named configs, changed (FIELD=VALUE) and in all combinations of varied values, by label. Raises BadInput."""
    configs = {name: read_training_config(name) for name in names}
    found: dict[str, AnyConfig] = {}
    for name, config in configs.items():
        made = (_fields(option, texts, config) for option, texts in (("--set", changes), ("--vary", variations)))
        found |= _variants(name, config, *made)
    return found


def one_domain_configs(wanted: Mapping[str, AnyConfig]) -> dict[str, TrainingConfig]:
    """Those of the configs that are of one domain."""
    return {label: config for label, config in wanted.items() if isinstance(config, TrainingConfig)}


def compare(
    settings: CliSettings,
    dataset: Dataset,
    wanted: Mapping[str, TrainingConfig],
    seeds: int,
    folder: Path,
    show: bool,
) -> list[Comparison]:
    """One comparison for each config, by its label. Raises BadInput, NotReady."""
    materials: dict[tuple[Any, ...], Material] = {}
    found = []
    with training_errors():
        for label, config in wanted.items():
            parts = tuple(getattr(config, field) for field in MATERIAL_FIELDS)
            if parts not in materials:
                materials[parts] = gather(dataset, settings.feature_directory, config)
            with progress_watcher(config, show) as watcher:
                experiment = Experiment(materials[parts], folder, watcher)
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


def _fields(option: str, texts: Sequence[str], config: AnyConfig) -> dict[str, list[Any]]:
    found, known = {}, type(config).model_fields
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values or name not in known:
            raise BadInput(f"{option}: must be FIELD=VALUE with a field of: {', '.join(known)}; is {text!r}")
        found[name] = [yaml.safe_load(value) for value in values.split(",")]
    return found


def _variants(
    name: str, config: AnyConfig, changes: Mapping[str, Sequence[Any]], variations: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, AnyConfig]]:
    with training_errors():
        [(_, base)] = varied(config, {field: values[:1] for field, values in changes.items()})
        for values, changed in varied(base, variations):
            yield ", ".join(part for part in (Path(name).stem, values) if part), changed


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
