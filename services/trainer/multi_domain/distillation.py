"""Trains a student on a stored Uni-CTR's logits, over the stored text vectors of items and users."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from services.ctr.backbones import BACKBONES
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import DistinctKnowledge, hide_ids
from services.ctr.uni_ctr.network import GENERAL, UNKNOWN_DOMAIN
from services.ctr.uni_ctr.student import Student, distillation_loss, hide_domains
from services.model_registry import UNKNOWN, ModelRegistry
from services.trainer.data.interaction_log import Indices, sample_rows
from services.trainer.data.knowledge_rows import StoredVectors
from services.trainer.data.offline_store import stored_vectors
from services.trainer.data.samples import Samples
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.features import Features, features_of, labels
from services.trainer.multi_domain.learners import OWN, batches_of_any, domain_places
from services.trainer.multi_domain.loop import fit
from services.trainer.multi_domain.stored_versions import StoredVersion, newest_unictr
from services.trainer.training.batches import KnowledgeTables, distinct_knowledge, knowledge_table
from services.trainer.training.config import InvalidConfig
from services.trainer.training.loop import Epoch
from services.trainer.training.run import SILENT, RunObserver, device


@dataclass(frozen=True)
class Teaching:
    """A teacher's logits by log row (R,): the own networks' and the general one's; NaN where it was not asked."""

    version: str
    own: npt.NDArray[np.float32]
    general: npt.NDArray[np.float32]


@dataclass
class StudentLearner:
    """A student on categorical features and stored text vectors; `teaching` is what it learns beside the labels.

    A user's text is made of the user's first interactions, so of these it would tell the label: such a sample goes
    without the user's vector, as a user does of whom nothing was written yet.
    """

    network: Student
    features: Features
    tables: KnowledgeTables
    teaching: Teaching
    config: MultiDomainConfig
    device: torch.device

    def __post_init__(self) -> None:
        """Keep the vectors where the network is, and note which samples no text tells of."""
        log = self.features.data.log
        self._untold = np.zeros(len(log.user), dtype=np.int64)
        self._untold[sample_rows(log)] = 1
        tables = self.tables.item, self.tables.user
        self._item, self._user = (torch.from_numpy(table).to(self.device) for table in tables)

    @property
    def heads(self) -> tuple[str, ...]:
        """Its domains, and the unknown one."""
        return (GENERAL, *self.network.domains)

    def groups(self) -> list[list[torch.nn.Parameter]]:
        """All are of the first kind."""
        return [list(self.network.parameters()), []]

    def batches(self, samples: Samples, size: int, random: np.random.Generator | None) -> list[Indices]:
        """Batches of any samples."""
        return batches_of_any(len(samples), size, random)

    def loss(self, samples: Samples, chosen: Indices) -> Tensor:
        """Against the teacher's probabilities and the labels; of a hidden domain the general network teaches."""
        rows = samples.row[chosen]
        domain = hide_domains(self._domain(rows), self.config.domain_dropout)
        logits = self._logits(samples, chosen, domain)
        teaching = self.teaching.own, self.teaching.general
        own, general = (torch.from_numpy(part[rows]).to(self.device) for part in teaching)
        taught = torch.where(domain == UNKNOWN_DOMAIN, general, own)
        label = labels(samples, chosen, self.device)
        return distillation_loss(logits, taught, label, self.config.teacher_share, self.config.temperature)

    def logits(self, samples: Samples, chosen: Indices, head: str = OWN) -> Tensor:
        """Logits (B,); a domain that it does not know is the unknown one."""
        domain = self._domain(samples.row[chosen])
        if head != OWN:
            known = self.network.domains
            domain = torch.full_like(domain, known.index(head) if head in known else UNKNOWN_DOMAIN)
        return self._logits(samples, chosen, domain)

    def knowledge(self, samples: Samples, chosen: Indices) -> tuple[DistinctKnowledge, DistinctKnowledge]:
        """The stored vectors of the batch's items and users."""
        item_row = self.tables.item_row[samples.item[chosen]]
        rows = samples.row[chosen]
        user_row = self.tables.user_row[self.features.data.log.user[rows]] * self._untold[rows]
        return (
            distinct_knowledge(self._item, torch.from_numpy(item_row).to(self.device)),
            distinct_knowledge(self._user, torch.from_numpy(user_row).to(self.device)),
        )

    def _logits(self, samples: Samples, chosen: Indices, domain: Tensor) -> Tensor:
        batch = self.features.batch(samples, chosen, self.device)
        if self.network.training:
            batch = batch._replace(item_id=hide_ids(batch.item_id, self.config.id_dropout, UNKNOWN))
        scored: Tensor = self.network(batch, *self.knowledge(samples, chosen), domain)
        return scored.squeeze(-1)

    def _domain(self, rows: Indices) -> Tensor:
        return domain_places(self.features.data, self.network.domains, rows, self.device)


def distil(
    data: DomainData,
    config: MultiDomainConfig,
    directory: Path,
    registry: ModelRegistry,
    observer: RunObserver = SILENT,
) -> tuple[StudentLearner, str, list[Epoch]]:
    """The trained student, the encoder of the text vectors that it reads, and its epochs.

    Raises InvalidConfig, NoSuchVersion, KnowledgeNotLoaded.
    """
    stored = StoredVersion.read(registry, config.teacher or newest_unictr(registry))
    items, users = stored_vectors(directory, "item_knowledge"), stored_vectors(directory, "user_knowledge")
    observer.stage(f"asking the teacher, version {stored.manifest.version}")
    learner = _student(data, config, items, users, _taught(stored, data))
    split = data.split
    observer.stage("training the student")
    epochs = fit(
        learner,
        data,
        split.training,
        split.validation,
        config,
        "student",
        observer,
    )
    return learner, items.encoder, epochs


def _taught(stored: StoredVersion, data: DomainData) -> Teaching:
    rows, count = data.split.training.row, len(data.domain)
    own, general = (np.full(count, np.nan, np.float32) for _ in range(2))
    own[rows], general[rows] = stored.logits(data, rows)
    return Teaching(stored.manifest.version, own, general)


def _student(
    data: DomainData, config: MultiDomainConfig, items: StoredVectors, users: StoredVectors, teaching: Teaching
) -> StudentLearner:
    torch.manual_seed(config.seed)
    features = features_of(data, config.history_length, with_user=False)
    tables = KnowledgeTables(
        knowledge_table(items.vectors),
        knowledge_table(users.vectors),
        _rows(items, [item.item_id for item in data.items]),
        _rows(users, data.user_ids),
    )
    width = config.embedding_width
    adaptor = AdaptorConfig(knowledge_width=tables.width, augmented_width=width)
    if config.student_backbone not in BACKBONES:
        raise InvalidConfig(f"student_backbone: must be one of {', '.join(BACKBONES)}, is {config.student_backbone!r}")
    backbone = partial(BACKBONES[config.student_backbone], dropout=config.dropout, **config.network_options)
    try:
        network = Student(backbone, features.spec(width, width), data.trained, adaptor, config.knowledge_dropout)
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"network_options: {config.student_backbone} refuses them: {error}") from error
    return StudentLearner(network.to(device()), features, tables, teaching, config, device())


def _rows(stored: StoredVectors, ids: list[str]) -> Indices:
    return pd.Index(stored.subject_ids).get_indexer(pd.Index(ids)).astype(np.int64) + 1
