"""Registers trained networks of several domains as model versions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from services.ctr.uni_ctr.network import GENERAL
from services.model_registry import Manifest, ModelRegistry
from services.model_registry.file_hashes import file_hash
from services.model_registry.sequence_golden import SequenceGolden, golden_file
from services.model_registry.unictr_files import PROMPTS_FILE, network_file
from services.trainer.multi_domain.config import UNICTR, MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.learners import PromptLearner
from services.trainer.multi_domain.stored_versions import CONFIG_FILE, StoredVersion
from services.trainer.multi_domain.token_table import domain_text
from services.trainer.release.uni_ctr_export import export_network, export_uni_ctr
from services.trainer.training.config import InvalidConfig

GOLDEN_PROMPTS = 16


def register_uni_ctr(
    learner: PromptLearner,
    data: DomainData,
    config: MultiDomainConfig,
    registry: ModelRegistry,
    metrics: Mapping[str, float],
) -> str:
    """Export a network and register it; returns the version. Raises ExportMismatch, InvalidConfig."""
    if learner.network.general is None:
        raise InvalidConfig("general: must be true for a network that is to rank: it serves all other scenarios")
    files = scratch(registry)
    form = learner.form
    for name in set(learner.network.domains) - set(form.domain_texts):
        form = form.with_domain(name, domain_text(name))
    hashes = export_uni_ctr(learner.network, learner.tokenizer, form, files)
    for name in (*learner.network.domains, GENERAL):
        hashes[golden_file(name)] = _golden(learner, data, name).write(files, name)
    hashes[CONFIG_FILE] = write_config(config, files)
    manifest = Manifest(
        version=registry.next_version(),
        kind=UNICTR,
        scenarios=list(learner.network.domains),
        backbone=Path(config.language_model).name,
        created_time=datetime.now(UTC),
        history_length=config.history_length,
        metrics=dict(metrics),
        data_hash=data.data_hash,
        file_hashes=hashes,
    )
    return registry.register(manifest, files)


def register_with_domain(
    stored: StoredVersion,
    learner: PromptLearner,
    data: DomainData,
    name: str,
    registry: ModelRegistry,
    metrics: Mapping[str, float],
) -> str:
    """Register a version more: all files of a stored one as they are, and the network of one more domain."""
    files, hashes = _copied(stored, registry, without={PROMPTS_FILE})
    form = stored.form.with_domain(name, domain_text(name))
    hashes |= export_network(learner.network, name, files, form.max_tokens)
    hashes[golden_file(name)] = _golden(learner, data, name).write(files, name)
    hashes[PROMPTS_FILE] = _write(files / PROMPTS_FILE, form.to_json())
    scenarios = [*stored.manifest.scenarios, name]
    return _register(stored.manifest, registry, files, scenarios, {**stored.manifest.metrics, **metrics}, hashes)


def register_without_domain(stored: StoredVersion, name: str, registry: ModelRegistry) -> str:
    """Register a version more: all files of a stored one as they are, but those of one domain. Raises InvalidConfig."""
    if name not in stored.manifest.scenarios:
        known = ", ".join(stored.manifest.scenarios)
        raise InvalidConfig(f"version {stored.manifest.version} has no network of {name!r}; it has: {known or 'none'}")
    files, hashes = _copied(stored, registry, without={network_file(name), golden_file(name), PROMPTS_FILE})
    hashes[PROMPTS_FILE] = _write(files / PROMPTS_FILE, stored.form.without_domain(name).to_json())
    metrics = {key: value for key, value in stored.manifest.metrics.items() if not key.endswith(f" {name}")}
    scenarios = [other for other in stored.manifest.scenarios if other != name]
    return _register(stored.manifest, registry, files, scenarios, metrics, hashes)


def scratch(registry: ModelRegistry) -> Path:
    """An empty folder beside the versions, from where one is moved into place."""
    registry.root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=registry.root))


def write_config(config: MultiDomainConfig, folder: Path) -> str:
    """Write the training config beside a network; its SHA-256."""
    return _write(folder / CONFIG_FILE, config.model_dump_json(indent=2))


def _copied(stored: StoredVersion, registry: ModelRegistry, without: Set[str]) -> tuple[Path, dict[str, str]]:
    """A scratch folder with a version's files, but for some, as they are; and their hashes."""
    files = scratch(registry)
    hashes = {file: digest for file, digest in stored.manifest.file_hashes.items() if file not in without}
    for file in hashes:
        shutil.copy2(stored.folder / file, files / file)
    return files, hashes


def _register(
    old: Manifest,
    registry: ModelRegistry,
    files: Path,
    scenarios: list[str],
    metrics: dict[str, float],
    hashes: dict[str, str],
) -> str:
    aucs = [value for key, value in metrics.items() if key.startswith("auc ")]
    changed = {"version": registry.next_version(), "scenarios": scenarios, "created_time": datetime.now(UTC)}
    measured = {**metrics, "auc": float(np.mean(aucs))} if aucs else metrics
    manifest = old.model_copy(update={**changed, "metrics": measured, "file_hashes": hashes})
    return registry.register(manifest, files)


def _golden(learner: PromptLearner, data: DomainData, name: str) -> SequenceGolden:
    """Prompts of the test part, its own ones for a domain's network, with the logits that the network gives."""
    test = data.split.test if name == GENERAL else data.of(data.split.test, [name])
    rows = test.row[np.unique(np.linspace(0, len(test) - 1, GOLDEN_PROMPTS).astype(np.int64))]
    network = learner.network.cpu().eval()
    ids, mask = learner.table.batch(rows, torch.device("cpu"))
    with torch.inference_mode():
        logits = network.head(name, network.hidden(ids, mask), mask)
    return SequenceGolden(ids.numpy(), mask.numpy(), logits.float().numpy())


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return file_hash(path)
