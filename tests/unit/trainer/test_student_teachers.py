"""Who teaches a student: each domain's own network, and the general one where the domain is hidden."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from services.ctr.backbones import BACKBONES
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.uni_ctr.student import Student
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.distillation import StudentLearner, Teaching
from services.trainer.multi_domain.domain_data import DomainData, gather
from services.trainer.multi_domain.features import features_of
from services.trainer.multi_domain.learners import scores
from services.trainer.multi_domain.loop import fit
from services.trainer.training.batches import KnowledgeTables, knowledge_table
from tests.unit.trainer.test_multi_domain_leakage import dataset_of

WIDTH = 8
Logits = np.ndarray[tuple[int], np.dtype[np.float32]]


def config_of(**changes: object) -> MultiDomainConfig:
    base = {"task": "multi-domain", "network": "unictr-student", "batch_size": 32, "learning_rate": 0.03, "seed": 1}
    own = {"epochs": 16, "teacher_share": 1.0, "domain_dropout": 0.4, "id_dropout": 0.0, "dropout": 0.0}
    return MultiDomainConfig.model_validate(base | own | changes)


@pytest.fixture(scope="module")
def data() -> DomainData:
    """Three domains whose labels say nothing: they are drawn."""
    return gather(dataset_of(), config_of())


def teaching_of(data: DomainData) -> Teaching:
    """An own network that goes by an item's number, the other way round in songs; a general one that goes otherwise."""
    number = np.array([int(item.item_id[-1]) for item in data.items])[data.log.item]
    turned = np.where(data.domain == data.domains.index("songs"), -1, 1)
    own, general = (np.where(number % 2 == 0, 1.5, -1.5) * turned, np.where(number // 2 % 2 == 0, 1.5, -1.5))
    return Teaching("1", own.astype(np.float32), general.astype(np.float32))


def taught(data: DomainData, config: MultiDomainConfig) -> StudentLearner:
    """A student after its training, with text vectors that tell nothing.

    Trained an epoch at a time: which epoch's labels it fits best says nothing of how near it is to its teachers.
    """
    torch.manual_seed(config.seed)
    features = features_of(data, config.history_length, with_user=False)
    vectors = [knowledge_table(np.ones((1, 4), dtype=np.float32)) for _ in range(2)]
    rows = [np.ones(count, dtype=np.int64) for count in (len(data.items), len(data.user_ids))]
    backbone = partial(BACKBONES["dcn"], deep=[16], hidden=[16], dropout=0.0)
    adaptor = AdaptorConfig(knowledge_width=4, augmented_width=WIDTH, hidden_width=8)
    network = Student(backbone, features.spec(WIDTH, WIDTH), data.trained, adaptor)
    tables = KnowledgeTables(*vectors, *rows)
    learner = StudentLearner(network, features, tables, teaching_of(data), config, torch.device("cpu"))
    for number in range(config.epochs):
        once = config.model_copy(update={"epochs": 1, "seed": config.seed + number})
        fit(learner, data, data.split.training, data.split.validation, once)
    return learner


@pytest.fixture(scope="module")
def student(data: DomainData) -> StudentLearner:
    """One that listens to its teachers alone, and whose domain is hidden at times."""
    return taught(data, config_of())


def distance(found: Logits, wanted: Logits) -> float:
    """Mean square, relative to that of the best constant."""
    return float(np.mean((found - wanted) ** 2) / np.var(wanted))


def test_each_domain_comes_near_its_own_network(student: StudentLearner, data: DomainData) -> None:
    """On the test part, which it was never taught."""
    for name in data.domains:
        test = data.of(data.split.test, [name])
        assert distance(scores(student, test), student.teaching.own[test.row]) < 0.5


def test_an_unknown_domain_comes_near_the_general_network(student: StudentLearner, data: DomainData) -> None:
    """Far nearer than to what the domains' own networks think."""
    test = data.split.test
    found = scores(student, test, "general")
    near, far = (distance(found, wanted[test.row]) for wanted in (student.teaching.general, student.teaching.own))
    assert near < 0.5
    assert far > 2 * near


def test_without_hidden_domains_the_general_network_teaches_nothing(data: DomainData) -> None:
    """It is asked for by the share of hidden domains alone: logits that are none would spoil the loss."""
    config = config_of(domain_dropout=0.0, epochs=1)
    learner = taught(data, config)
    silent = Teaching("1", learner.teaching.own, np.full_like(learner.teaching.general, np.nan))
    mute = StudentLearner(learner.network, learner.features, learner.tables, silent, config, learner.device)
    assert torch.isfinite(mute.loss(data.split.training, np.arange(64)))


def test_without_a_share_the_teacher_changes_nothing(data: DomainData) -> None:
    """Only labels teach then, whatever the logits are."""
    config = config_of(teacher_share=0.0, knowledge_dropout=0.0, domain_dropout=0.0, epochs=1)
    learner = taught(data, config)
    other = Teaching("2", -learner.teaching.own, learner.teaching.general)
    again = StudentLearner(learner.network, learner.features, learner.tables, other, config, learner.device)
    learner.network.eval()
    losses = [each.loss(data.split.training, np.arange(64)) for each in (learner, again)]
    assert torch.equal(*losses)
