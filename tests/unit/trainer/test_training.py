"""A whole run on a small catalogue whose labels only knowledge can tell."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.metrics import roc_auc_score

from services.model_registry import (
    GOLDEN_FILE,
    SCORER_INPUTS,
    SCORER_OUTPUT,
    GoldenSet,
    ModelRegistry,
    blank_inputs,
    verify_adaptor,
    verify_scorer,
)
from services.model_registry.rerankers import RERANKER_FILE, RerankerRegistry
from services.trainer.data.datasets import Dataset
from services.trainer.data.knowledge_rows import KnowledgeNotLoaded
from services.trainer.data.offline_store import load_catalogue
from services.trainer.evaluation.metrics import gauc, metrics
from services.trainer.release.version import Report, train
from services.trainer.training.config import InvalidConfig, TrainingConfig, read_config
from services.trainer.training.networks import scores
from services.trainer.training.run import gather, train_network


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    """The shipped config, smaller and shorter."""
    return read_config("din").model_copy(
        update={
            "embedding_width": 8,
            "history_length": 8,
            "batch_size": 32,
            "epochs": 12,
            "learning_rate": 0.005,
            "patience": 12,
        }
    )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """An empty registry."""
    return ModelRegistry(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def report(dataset: Dataset, feature_directory: Path, registry: ModelRegistry, config: TrainingConfig) -> Report:
    """One run."""
    return train(dataset, feature_directory, registry, config)


@pytest.fixture(scope="module")
def listwise(config: TrainingConfig) -> TrainingConfig:
    """PRM, as small as the version that it is bound to."""
    sizes = ("embedding_width", "history_length", "learning_rate", "batch_size")
    same = {name: getattr(config, name) for name in sizes}
    return read_config("prm").model_copy(update={**same, "epochs": 6, "patience": 6})


@pytest.fixture(scope="module")
def bound(
    report: Report,
    dataset: Dataset,
    feature_directory: Path,
    registry: ModelRegistry,
    listwise: TrainingConfig,
) -> Report:
    """One run, with the version active; it is inactive for the tests outside."""
    pointer = registry.root / "active.json"
    registry.promote(report.version)
    found = train(dataset, feature_directory, registry, listwise)
    pointer.unlink()
    return found


class TestBoundReranker:
    """A re-ranker trained on the vectors of the version that is active."""

    def test_it_orders_better_with_the_versions_vectors_than_without(self, bound: Report) -> None:
        """What the frozen adaptor made of the knowledge tells what the lists' items are about."""
        assert bound.knowledge_on["map@5"] > bound.knowledge_off["map@5"]
        assert bound.knowledge_withheld["map@5"] < bound.knowledge_on["map@5"]

    def test_it_is_registered_as_bound_to_the_version(
        self, bound: Report, report: Report, registry: ModelRegistry
    ) -> None:
        """Beside the model versions, not among them; promoted by nobody."""
        rerankers = RerankerRegistry(registry.root)
        manifest = rerankers.manifest(bound.version)
        assert (manifest.base_version, bound.base_version) == (report.version, report.version)
        assert (manifest.reranker, manifest.metrics) == ("prm", bound.knowledge_on)
        assert rerankers.active() is None
        assert [version.backbone for version in registry.versions()] == ["din"]

    def test_its_file_takes_the_versions_inputs(self, bound: Report, report: Report, registry: ModelRegistry) -> None:
        """So ranking can apply it to what the scorer has scored, for lists of any length."""
        path = RerankerRegistry(registry.root).folder(bound.version) / RERANKER_FILE
        session = onnxruntime.InferenceSession(path)
        for candidates in (2, 50):
            scores = session.run([SCORER_OUTPUT], blank_inputs(registry.manifest(report.version), candidates))[0]
            assert scores.shape == (1, candidates)

    @pytest.mark.parametrize(
        ("change", "words"),
        [({"embedding_width": 16}, "embedding_width: must be that of"), ({"history_length": 5}, "history_length")],
    )
    def test_sizes_other_than_the_versions_are_refused(
        self,
        bound: Report,
        report: Report,
        dataset: Dataset,
        feature_directory: Path,
        registry: ModelRegistry,
        listwise: TrainingConfig,
        change: dict[str, int],
        words: str,
    ) -> None:
        """Before any training."""
        registry.promote(report.version)
        try:
            with pytest.raises(InvalidConfig, match=words):
                train(dataset, feature_directory, registry, listwise.model_copy(update=change))
        finally:
            (registry.root / "active.json").unlink()

    def test_without_an_active_version_there_is_nothing_to_bind_it_to(
        self, dataset: Dataset, feature_directory: Path, tmp_path: Path, listwise: TrainingConfig
    ) -> None:
        """The message says what to do."""
        with pytest.raises(InvalidConfig, match="promote one first"):
            train(dataset, feature_directory, ModelRegistry(tmp_path), listwise)


def test_knowledge_that_tells_the_labels_raises_auc_and_gauc_and_lowers_logloss(report: Report) -> None:
    """The network with the adaptor finds what the other cannot know."""
    assert report.knowledge_on["auc"] > report.knowledge_off["auc"] + 0.05
    assert report.knowledge_on["gauc"] > report.knowledge_off["gauc"] + 0.05
    assert report.knowledge_on["logloss"] < report.knowledge_off["logloss"]


def test_withholding_the_knowledge_takes_the_gain_away(report: Report) -> None:
    """The gain came from the vectors, not from the larger network."""
    assert report.knowledge_withheld["auc"] < report.knowledge_on["auc"] - 0.05


def test_the_version_is_registered_with_all_that_binds_its_halves(
    report: Report, registry: ModelRegistry, config: TrainingConfig
) -> None:
    """Metrics, widths, encoder and the hashes of both files; nothing is promoted."""
    manifest = registry.manifest(report.version)
    assert manifest.metrics == report.knowledge_on
    assert (manifest.knowledge_dimension, manifest.augmented_dimension) == (16, config.embedding_width)
    assert (manifest.encoder, manifest.backbone, manifest.scenario) == ("test-encoder", "din", "movies")
    for name, digest in manifest.file_hashes.items():
        assert hashlib.sha256((registry.folder(report.version) / name).read_bytes()).hexdigest() == digest
    assert registry.active() is None


def test_the_exported_halves_take_what_the_contract_says(report: Report, registry: ModelRegistry) -> None:
    """The scorer's inputs by name and type, and an adaptor that takes no rows on one side."""
    folder = registry.folder(report.version)
    scorer = onnxruntime.InferenceSession(folder / "scorer.onnx")
    found = {value.name: value.type for value in scorer.get_inputs()}
    kinds = {"int64": "tensor(int64)", "float32": "tensor(float)"}
    assert found == {name: kinds[dtype] for name, (dtype, _) in SCORER_INPUTS.items()}
    adaptor = onnxruntime.InferenceSession(folder / "adaptor.onnx")
    none, some = np.zeros((0, 16), dtype=np.float32), np.ones((3, 16), dtype=np.float32)
    items, users = adaptor.run(["item_augmented", "user_augmented"], {"item_knowledge": some, "user_knowledge": none})
    assert (items.shape, users.shape) == ((3, 8), (0, 8))


def test_the_golden_set_holds_real_requests_that_the_exported_halves_answer(
    report: Report, registry: ModelRegistry
) -> None:
    """With histories and knowledge; its hash is in the manifest, and both halves agree with the network."""
    folder, manifest = registry.folder(report.version), registry.manifest(report.version)
    golden = GoldenSet.read(folder)
    assert golden is not None
    assert GOLDEN_FILE in manifest.file_hashes
    assert golden.scores.shape == (32, 20)
    assert len(np.unique(golden.scores)) > 100
    assert (golden.inputs["history_item_id"] > 0).any(axis=1).all()
    assert golden.inputs["item_augmented"].any()
    scorer, adaptor = (onnxruntime.InferenceSession(folder / f"{half}.onnx") for half in ("scorer", "adaptor"))
    none = np.zeros((0, manifest.knowledge_dimension), dtype=np.float32)

    def adapt(subject: str, vectors: np.ndarray) -> np.ndarray:
        inputs = {f"{side}_knowledge": vectors if side == subject else none for side in ("item", "user")}
        return adaptor.run([f"{subject}_augmented"], inputs)[0]

    assert verify_scorer(lambda inputs: scorer.run(None, dict(inputs))[0], manifest, golden) is not None
    assert verify_adaptor(adapt, manifest, golden) is not None


def test_the_same_seed_gives_the_same_metrics(
    dataset: Dataset, feature_directory: Path, config: TrainingConfig
) -> None:
    """A run can be repeated."""
    short = config.model_copy(update={"epochs": 3})
    once, again = (train_network(gather(dataset, feature_directory, short), short, augmented=True)[1] for _ in range(2))
    assert [epoch.validation for epoch in again] == [pytest.approx(epoch.validation, abs=1e-6) for epoch in once]


def test_training_stops_early_and_keeps_the_best_epoch(
    dataset: Dataset, feature_directory: Path, config: TrainingConfig
) -> None:
    """After `patience` epochs without a better validation AUC."""
    wild = config.model_copy(update={"epochs": 30, "patience": 1})
    data = gather(dataset, feature_directory, wild)
    network, epochs = train_network(data, wild, augmented=False)
    found = [epoch.validation["auc"] for epoch in epochs]
    assert len(found) < 30
    assert max(found) == found[-2]
    samples, batches = data.split.validation, data.batches(wild.history_length, torch.device("cpu"))
    kept = data.objective.measure(samples, scores(network, samples, batches))
    assert kept["auc"] == pytest.approx(max(found), abs=1e-6)


def test_training_without_knowledge_in_the_store_says_what_to_do(
    dataset: Dataset, config: TrainingConfig, tmp_path: Path
) -> None:
    """Before any hour is spent."""
    load_catalogue(dataset, tmp_path / "features")
    with pytest.raises(KnowledgeNotLoaded, match="loreline knowledge build"):
        train(dataset, tmp_path / "features", ModelRegistry(tmp_path / "models"), config)


class TestGauc:
    """Each user's AUC, weighted by impressions."""

    def test_it_is_the_weighted_mean_of_the_users_aucs(self) -> None:
        """Computed by hand for two users of 2 and 4 impressions."""
        users = np.array([0, 1, 0, 1, 1, 1])
        label = np.array([1, 1, 0, 0, 1, 0], dtype=np.float32)
        score = np.array([0.9, 0.2, 0.1, 0.3, 0.8, 0.1])
        of_b = roc_auc_score(label[users == 1], score[users == 1])
        assert gauc(users, label, score) == pytest.approx((2 * 1.0 + 4 * of_b) / 6)

    def test_users_with_labels_of_one_kind_do_not_count(self) -> None:
        """Their order cannot be right or wrong."""
        users = np.array([0, 0, 1, 1])
        assert gauc(users, np.array([1, 0, 1, 1], dtype=np.float32), np.array([0.9, 0.1, 0.2, 0.3])) == 1.0

    def test_without_a_user_of_both_labels_there_is_none(self) -> None:
        """And the other metrics are told all the same: a small part of a log has nothing else."""
        users, label = np.array([0, 1, 1]), np.array([1, 0, 0], dtype=np.float32)
        assert gauc(users, label, np.array([0.5, 0.2, 0.6])) is None
        assert set(metrics(users, label, np.array([0.5, 0.2, 0.6]))) == {"auc", "logloss"}


class TestConfig:
    """What a training config may say."""

    def test_an_unknown_name_lists_the_shipped_ones(self) -> None:
        """So that a typing error is found at once."""
        with pytest.raises(InvalidConfig, match=r"one of: .*din, "):
            read_config("dinn")

    @pytest.mark.parametrize(("line", "field"), [("epochs: 0", "epochs"), ("epoch: 3", "epoch"), ("seed: x", "seed")])
    def test_a_bad_value_names_the_field(self, tmp_path: Path, line: str, field: str) -> None:
        """Out of bounds, unknown, or of another type."""
        shipped = (Path(sys.modules[read_config.__module__].__file__).parent / "configs" / "din.yaml").read_text()
        kept = [text for text in shipped.splitlines() if not text.startswith(f"{line.split(':')[0]}:")]
        path = tmp_path / "mine.yaml"
        path.write_text("\n".join([*kept, line]))
        with pytest.raises(InvalidConfig, match=f"{field}: "):
            read_config(str(path))


def test_the_job_without_its_settings_ends_with_code_2_and_names_them() -> None:
    """All that are missing, at once."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORELINE_TRAINER_")}
    done = subprocess.run(
        [sys.executable, "-m", "services.trainer"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "LORELINE_TRAINER_FEATURE_DIRECTORY" in done.stderr
    assert "LORELINE_TRAINER_MODEL_REGISTRY" in done.stderr
