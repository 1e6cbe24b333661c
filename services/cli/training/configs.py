"""Training configs as the commands are given them: by name or as a file, changed, and varied. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from services.cli.output import BadInput
from services.trainer.multi_domain.config import AnyConfig, MultiDomainConfig, read_any_config
from services.trainer.training.config import InvalidConfig, TrainingConfig, varied


def read_training_config(name_or_path: str) -> AnyConfig:
    """A shipped config by name, or a file. Raises BadInput."""
    try:
        return read_any_config(name_or_path)
    except InvalidConfig as error:
        raise BadInput(f"--config: {error}") from error


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


def domain_configs(wanted: Mapping[str, AnyConfig]) -> dict[str, MultiDomainConfig]:
    """The configs, if they are of several domains; none if none is. Raises BadInput for both kinds at once."""
    found = {label: config for label, config in wanted.items() if isinstance(config, MultiDomainConfig)}
    if found and len(found) < len(wanted):
        raise BadInput("--config: configs of several domains are not compared with those of one")
    return found


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
    try:
        [(_, base)] = varied(config, {field: values[:1] for field, values in changes.items()})
        for values, changed in varied(base, variations):
            yield ", ".join(part for part in (Path(name).stem, values) if part), changed
    except InvalidConfig as error:
        raise BadInput(f"--config: {error}") from error
