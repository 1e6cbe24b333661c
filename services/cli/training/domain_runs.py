"""The steps behind training over several domains. Imported only when one runs: PyTorch takes seconds to load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from services.cli import output
from services.cli.output import BadInput
from services.cli.settings import CliSettings
from services.cli.training.datasets import print_remarks
from services.cli.training.runs import progress_observer, training_errors
from services.model_registry import ModelRegistry, NoSuchVersion
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.registration import register_without_domain
from services.trainer.multi_domain.runs import DomainReport, add_domain, train_domains
from services.trainer.multi_domain.stored_versions import StoredVersion
from services.trainer.training.config import InvalidConfig


def train_domain_version(
    settings: CliSettings, dataset: MultiDomainDataset, config: MultiDomainConfig, show: bool
) -> DomainReport:
    """Train and register the next version, with a progress bar. Raises BadInput, NotReady."""
    registry = ModelRegistry(settings.model_registry)
    with domain_errors(), progress_observer(config, show) as observer:
        return train_domains(dataset, settings.feature_directory, registry, config, observer)


def with_domain(
    settings: CliSettings, dataset: MultiDomainDataset, version: str, name: str, show: bool
) -> DomainReport:
    """Train one more domain's network over a version, and register both as the next. Raises BadInput, NotReady."""
    registry = ModelRegistry(settings.model_registry)
    with domain_errors("--version"):
        config = StoredVersion.read(registry, version).config
    with domain_errors("domain"), progress_observer(config, show) as observer:
        return add_domain(dataset, registry, version, name, observer)


def without_domain(settings: CliSettings, version: str, name: str) -> str:
    """Register a version without a domain's network; its number. Raises BadInput."""
    registry = ModelRegistry(settings.model_registry)
    with domain_errors("domain"):
        return register_without_domain(StoredVersion.read(registry, version), name, registry)


@contextmanager
def domain_errors(place: str = "--config") -> Iterator[None]:
    """What training over domains raises, as the commands' errors."""
    with training_errors():
        try:
            yield
        except InvalidConfig as error:
            raise BadInput(f"{place}: {error}") from error
        except NoSuchVersion as error:
            raise BadInput(str(error)) from error


def print_domain_report(report: DomainReport, json_output: bool = False) -> None:
    """Each domain's metrics on the test part, the sizes of its parts, and what a reader has to know."""
    if json_output:
        output.print_json(report)
        return
    taught = report.teacher_domains or {}
    rows = [
        (name, report.heads[name], values.get("auc"), values.get("logloss"), *_taught(taught, name), *parts)
        for name, values in report.domains.items()
        for parts in [report.parts[name].values()]
    ]
    teacher = ["teacher's AUC"] if taught else []
    columns = ["domain", "network", "AUC", "LogLoss", *teacher, "training", "validation", "test"]
    output.print_table(f"Model version {report.version}, test part of each domain", columns, rows)
    print_remarks(report.remarks)
    told = ", ".join(f"{name.replace('_', ' ')}: {_fact(value)}" for name, value in report.facts.items())
    output.console.print(told, style="dim", soft_wrap=True)
    output.console.print(f"next: `loreline models promote {report.version}`")


def _taught(taught: Mapping[str, Mapping[str, float]], name: str) -> list[float | None]:
    return [taught[name].get("auc")] if taught else []


def _fact(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 1 else f"{value:.1%}"
