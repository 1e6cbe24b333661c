"""A student of Uni-CTR: what it learns from, what it is not told, and how it is registered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.model_registry import GoldenSet, ModelRegistry, verify_adaptor, verify_files, verify_scorer
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.interaction_log import sample_rows
from services.trainer.data.offline_store import load_catalogue, load_knowledge, preference_histories
from services.trainer.multi_domain.config import MultiDomainConfig, read_any_config
from services.trainer.multi_domain.distillation import StudentLearner, distil
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.runs import train_domains
from services.trainer.multi_domain.stored_versions import StoredVersion
from services.trainer.multi_domain.training import EVERY, prepare, train_network
from services.trainer.release.onnx_files import open_onnx
from services.trainer.training.config import InvalidConfig
from services.trainer.training.run import SILENT
from tests.several_domains import read_domains, write_domains, write_language_model
from tests.unit.trainer.conftest import knowledge_row

DOMAINS = ("music", "retail")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MultiDomainDataset:
    """Two domains with shared users."""
    return read_domains(write_domains(tmp_path_factory.mktemp("domains"), DOMAINS, interactions=200))


@pytest.fixture(scope="module")
def features(dataset: MultiDomainDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both in Feast, with vectors of items that tell the moods of their titles."""
    directory = tmp_path_factory.mktemp("features")
    load_catalogue(dataset, directory)
    users = [history.user_id for history, _ in preference_histories(dataset)]
    items = [knowledge_row(item_id, int(item_id.split("-")[1]) % 2) for item_id in dataset.items]
    load_knowledge(dataset, items, [knowledge_row(user_id, 0) for user_id in users], directory)
    return directory


@pytest.fixture(scope="module")
def registry(dataset: MultiDomainDataset, features: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """With a teacher of both domains as version 1."""
    made = ModelRegistry(tmp_path_factory.mktemp("models"))
    train_domains(dataset, features, made, teacher_config(write_language_model(tmp_path_factory.mktemp("bert"))))
    return made


def teacher_config(language_model: Path) -> MultiDomainConfig:
    small = {"network_options": {"tower": [16], "gate_width": 8}, "max_tokens": 64, "ladder_every": 1, "epochs": 2}
    rates = {"learning_rate": 0.005, "language_model_rate": 0.002, "language_model": str(language_model)}
    return MultiDomainConfig.model_validate(read_any_config("unictr").model_dump() | small | rates)


def student_config(**changes: object) -> MultiDomainConfig:
    small = {"embedding_width": 8, "batch_size": 32, "epochs": 2, "learning_rate": 0.01}
    options = {"network_options": {"deep": [16], "hidden": [8]}}
    return MultiDomainConfig.model_validate(read_any_config("unictr-student").model_dump() | small | options | changes)


@pytest.fixture(scope="module")
def learner(dataset: MultiDomainDataset, features: Path, registry: ModelRegistry) -> StudentLearner:
    """A student that listens to its teacher alone."""
    config = student_config(teacher_share=1.0, domain_dropout=0.0, epochs=8, patience=8)
    return distil(prepare(dataset, config), config, features, registry, SILENT)[0]


def test_a_stored_versions_logits_are_those_of_its_networks(
    dataset: MultiDomainDataset, registry: ModelRegistry
) -> None:
    """Read from its files, each sample by its own domain's network, in the order asked for."""
    stored = StoredVersion.read(registry, "1")
    data = prepare(dataset, stored.config)
    fitted = train_network(dataset, data, stored.config)  # the same seed: the same network
    rows = np.random.default_rng(0).permutation(data.split.test.row)
    own, general = stored.logits(data, rows)
    network, table = fitted.learners[EVERY].network.eval(), stored.table(data)
    ids, mask = table.batch(rows, torch.device("cpu"))
    with torch.inference_mode():
        expected = network(ids, mask, torch.from_numpy(data.domain[rows]))
    np.testing.assert_allclose(own, expected.own.numpy(), atol=1e-3)
    np.testing.assert_allclose(general, expected.general.numpy(), atol=1e-3)


def test_a_student_comes_near_its_teacher(learner: StudentLearner) -> None:
    """Nearer than a constant could, on samples of its training part."""
    samples = learner.features.data.split.training
    taught = torch.sigmoid(torch.from_numpy(learner.teaching.own[samples.row]))
    learner.network.eval()
    with torch.inference_mode():
        found = torch.sigmoid(learner.logits(samples, np.arange(len(samples))))
    assert functional.mse_loss(found, taught) < 0.5 * taught.var()


def test_a_student_is_told_nothing_of_a_user_that_tells_the_label(learner: StudentLearner) -> None:
    """A text about a user is made of the user's first interactions: these are scored without it."""
    data: DomainData = learner.features.data
    free = np.isin(np.arange(len(data.domain)), sample_rows(data.log))
    for samples in (data.split.training, data.split.test):
        _, users = learner.knowledge(samples, np.arange(len(samples)))
        assert users.known.tolist() == free[samples.row].astype(float).tolist()
        assert users.known.sum() > 0


def test_an_unknown_domain_is_a_case_of_its_own(learner: StudentLearner) -> None:
    """It has an embedding, so its scores are none of the domains'."""
    samples, chosen = learner.features.data.split.test, np.arange(20)
    learner.network.eval()
    with torch.inference_mode():
        heads = {head: learner.logits(samples, chosen, head) for head in learner.heads}
    assert list(heads) == ["general", *DOMAINS]
    assert not torch.allclose(heads["general"], heads["music"])


def test_a_student_is_registered_with_its_teachers_figures(
    dataset: MultiDomainDataset, features: Path, registry: ModelRegistry
) -> None:
    """As a version of its kind whose scorer and adaptor answer the golden set; the report has both sides."""
    report = train_domains(dataset, features, registry, student_config())
    assert report.teacher == "1"
    assert set(report.domains) == set(report.teacher_domains or {}) == set(DOMAINS)
    manifest, folder = registry.manifest(report.version), registry.folder(report.version)
    assert (manifest.kind, manifest.scenarios, manifest.encoder) == ("unictr-student", list(DOMAINS), "test-encoder")
    verify_files(folder, manifest)
    golden, scorer, adaptor = (
        GoldenSet.read(folder),
        open_onnx(folder / "scorer.onnx"),
        open_onnx(folder / "adaptor.onnx"),
    )

    def adapt(subject, vectors):
        inputs = {f"{name}_knowledge": vectors if name == subject else vectors[:0] for name in ("item", "user")}
        return adaptor.run([f"{subject}_augmented"], inputs)[0]

    assert golden is not None
    assert set(golden.inputs["domain"]) <= {0, 1}
    assert verify_scorer(lambda inputs: scorer.run(None, dict(inputs))[0], manifest, golden) < 1e-4
    assert verify_adaptor(adapt, manifest, golden) < 1e-4


def test_a_student_needs_a_teacher(dataset: MultiDomainDataset, features: Path, tmp_path: Path) -> None:
    """The message says how one is made."""
    with pytest.raises(
        InvalidConfig, match="teacher: there is no unictr version yet: `loreline train --config unictr`"
    ):
        train_domains(dataset, features, ModelRegistry(tmp_path), student_config())
