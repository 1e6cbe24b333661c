"""Registers a student as a version of KAR's kind with the domain as one input more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import torch

from services.ctr.uni_ctr.student import with_domain
from services.model_registry import DOMAIN, GOLDEN_FILE, SCORER_INPUTS, GoldenSet, Manifest, ModelRegistry
from services.trainer.multi_domain.config import STUDENT, MultiDomainConfig
from services.trainer.multi_domain.distillation import StudentLearner
from services.trainer.multi_domain.learners import domain_places
from services.trainer.multi_domain.registration import scratch, write_config
from services.trainer.multi_domain.stored_versions import CONFIG_FILE
from services.trainer.release.export import export
from services.trainer.release.golden_requests import augmented, golden_of, golden_samples


def register_student(
    learner: StudentLearner,
    config: MultiDomainConfig,
    encoder: str,
    registry: ModelRegistry,
    metrics: Mapping[str, float],
) -> str:
    """Export a student and register it; returns the version. Raises ExportMismatch."""
    files, vocabulary = scratch(registry), learner.features.vocabulary
    cpu = replace(learner, network=learner.network.cpu().eval(), device=torch.device("cpu"))
    hashes = export(cpu.network.network, files, config.history_length, len(vocabulary.fields), STUDENT)
    hashes[GOLDEN_FILE] = _golden(cpu).write(files)
    hashes[CONFIG_FILE] = write_config(config, files)
    vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version=registry.next_version(),
        kind=STUDENT,
        scenarios=list(learner.network.domains),
        backbone=config.student_backbone,
        created_time=datetime.now(UTC),
        encoder=encoder,
        knowledge_dimension=learner.tables.width,
        augmented_dimension=config.embedding_width,
        history_length=config.history_length,
        item_fields=list(vocabulary.fields),
        metrics=dict(metrics),
        data_hash=learner.features.data.data_hash,
        file_hashes=hashes,
    )
    return registry.register(manifest, files)


def _golden(learner: StudentLearner) -> GoldenSet:
    """Requests of the test part, each in its own domain, answered on the CPU."""
    data, network = learner.features.data, learner.network.network
    samples = golden_samples(data.split.test)
    everyone = np.arange(len(samples))
    domain = domain_places(data, learner.network.domains, samples.row, learner.device)
    batch = learner.features.batch(samples, everyone, learner.device)
    items, users = learner.knowledge(samples, everyone)
    with torch.inference_mode():
        adapted = batch._replace(
            item_augmented=augmented(network.adaptor.adapt_items(items.vectors), items),
            user_augmented=augmented(network.adaptor.adapt_users(users.vectors), users),
        )
        scores = torch.sigmoid(network.backbone(with_domain(adapted, domain)))
    inputs = {name: getattr(adapted, name) for name in SCORER_INPUTS} | {DOMAIN: domain}
    tables = (torch.from_numpy(table) for table in (learner.tables.item, learner.tables.user))
    return golden_of(inputs, scores, network.adaptor, *tables)
