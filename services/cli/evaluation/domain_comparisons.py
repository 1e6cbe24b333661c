"""The steps behind `loreline evaluate` with configs of several domains. Imported only when it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from services.cli import output
from services.cli.training.datasets import print_remarks
from services.cli.training.domain_runs import domain_errors
from services.cli.training.runs import progress_observer
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.datasets.domains import remarks
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.experiments import DomainComparison, DomainFigures, Experiment


def evaluate_domains(
    dataset: MultiDomainDataset, wanted: Mapping[str, MultiDomainConfig], seeds: int, folder: Path, json_output: bool
) -> None:
    """Compare, write evaluation.json, and print a table for each domain. Raises BadInput, NotReady."""
    first = next(iter(wanted.values()))
    with domain_errors(), progress_observer(first, not json_output) as observer:
        comparisons = Experiment(dataset, folder, observer).compare(wanted, seeds)
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "evaluation.json"
    document = [asdict(comparison) for comparison in comparisons]
    results.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if json_output:
        output.print_json(comparisons)
        return
    _print(comparisons)
    print_remarks(remarks(dataset))
    output.console.print(f"written: {results}")


def _print(comparisons: Sequence[DomainComparison]) -> None:
    names = dict.fromkeys(name for comparison in comparisons for name in comparison.domains)
    for name in names:
        _print_domain(name, [comparison for comparison in comparisons if name in comparison.domains])
    rows = [
        (
            c.label,
            c.mean_auc,
            c.facts.get("language_model", "-"),
            f"{c.facts.get('parameters', 0):,.0f}",
            f"{c.seconds:.0f}",
        )
        for c in comparisons
    ]
    columns = ["config", "mean AUC", "language model", "parameters", "seconds"]
    output.print_table(_title("All domains, each counted once", comparisons[0]), columns, rows)


def _print_domain(name: str, comparisons: Sequence[DomainComparison]) -> None:
    first, reference = comparisons[0].domains[name], comparisons[0].reference
    rows = [(c.label, *_cells(c.domains[name])) for c in comparisons]
    columns = ["config", "head", "AUC", "LogLoss", "RelaImpr", "its lead, 95%", "p"]
    told = f"{first.samples} test samples, {first.positives:.1%} positive; RelaImpr and lead: of {reference} over it"
    output.print_table(_title(f"{name}: {told}", comparisons[0]), columns, rows)


def _title(text: str, comparison: DomainComparison) -> str:
    seeds = f"mean and deviation of {comparison.seeds} seeds" if comparison.seeds > 1 else "one seed"
    return "; ".join(part for part in (text, seeds, comparison.note) if part)


def _cells(figures: DomainFigures) -> tuple[str, ...]:
    gained = figures.difference
    return (
        ", ".join(figures.heads),
        f"{figures.auc:.4f} ±{figures.auc_deviation:.4f}",
        f"{figures.logloss:.4f} ±{figures.logloss_deviation:.4f}",
        "" if figures.rela_impr is None else f"{figures.rela_impr:+.2%}",
        "" if gained is None else f"{gained.low:+.4f} to {gained.high:+.4f}",
        "" if gained is None else f"{gained.p:.3f}",
    )
