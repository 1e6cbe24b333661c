"""Comparing configs over seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.trainer.data.datasets import Dataset
from services.trainer.data.knowledge_rows import AskedKnowledge
from services.trainer.evaluation.metrics import relative_improvement, sliced
from services.trainer.training.config import InvalidConfig, TrainingConfig, read_config, varied
from services.trainer.training.experiments import Comparison, Experiment
from services.trainer.training.run import RunObserver, gather
from tests.unit.trainer.conftest import ITEMS, USERS

SMALL = {"embedding_width": 8, "history_length": 8, "batch_size": 64, "epochs": 8, "learning_rate": 0.005}


def config_of(name: str = "dcnv2", **changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(read_config(name).model_dump() | SMALL | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where trials are kept."""
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def comparison(dataset: Dataset, feature_directory: Path, folder: Path) -> Comparison:
    """DCN V2 over two seeds."""
    data = gather(dataset, feature_directory, config_of())
    return Experiment(data, folder).compare("dcnv2", config_of(), seeds=[1, 2])


def test_knowledge_that_tells_the_labels_is_a_significant_gain(comparison: Comparison) -> None:
    """In AUC, relatively, above chance, and by the interval of the bootstrap."""
    assert comparison.on["auc"] > comparison.off["auc"] + 0.05
    assert comparison.lift == pytest.approx(comparison.on["auc"] / comparison.off["auc"] - 1)
    assert comparison.rela_impr > comparison.lift
    assert comparison.difference.low > 0
    assert comparison.difference.mean == pytest.approx(comparison.on["auc"] - comparison.off["auc"], abs=1e-5)
    assert comparison.off_deviation["auc"] > 0


def test_a_comparison_tells_what_its_knowledge_cost_in_questions(comparison: Comparison) -> None:
    """One for each different text asked for, however many subjects share it."""
    assert comparison.knowledge == AskedKnowledge(llm_calls=2, subjects=USERS + ITEMS)


def test_finished_trials_are_not_trained_again(
    dataset: Dataset, feature_directory: Path, folder: Path, comparison: Comparison
) -> None:
    """The same comparison costs nothing, a third seed only its own."""
    stages: list[str] = []
    data = gather(dataset, feature_directory, config_of())
    experiment = Experiment(data, folder, RunObserver(stage=stages.append))
    assert experiment.compare("dcnv2", config_of(), seeds=[1, 2]) == comparison
    assert stages == []
    experiment.compare("dcnv2", config_of(), seeds=[1, 2, 3])
    assert stages == ["dcnv2, seed 3, knowledge off", "dcnv2, seed 3, knowledge on"]


def test_an_ablation_shares_the_trials_without_knowledge(
    dataset: Dataset,
    feature_directory: Path,
    folder: Path,
    comparison: Comparison,
) -> None:
    """What the adaptor looks like says nothing about the base."""
    stages: list[str] = []
    data = gather(dataset, feature_directory, config_of())
    Experiment(data, folder, RunObserver(stage=stages.append)).compare(
        "one side", config_of(adaptor_sides="item"), seeds=[1]
    )
    assert stages == ["one side, seed 1, knowledge on"]


@pytest.mark.parametrize("list_loss", ["cross-entropy", "attention"])
def test_rerankers_are_compared_by_map(
    dataset: Dataset, feature_directory: Path, tmp_path: Path, list_loss: str
) -> None:
    """With either loss; slices and RelaImpr are for single candidates."""
    config = config_of("prm", list_loss=list_loss)
    data = gather(dataset, feature_directory, config)
    found = Experiment(data, tmp_path).compare("prm", config, seeds=[1, 2])
    assert found.decides == "map@5"
    assert found.difference.mean == pytest.approx(found.on["map@5"] - found.off["map@5"], abs=1e-5)
    assert found.difference.mean != 0
    assert set(found.on) == {f"{name}@{cut}" for name in ("map", "ndcg", "clicks") for cut in (1, 3, 5, 7)}
    assert (found.rela_impr, found.slices) == (None, {})


def test_slices_without_both_labels_say_how_many_samples_they_have() -> None:
    """And nothing else."""
    import numpy as np

    label, score = np.array([1, 1, 0, 1], dtype=np.float32), np.array([0.9, 0.2, 0.3, 0.6])
    slices = {"one kind": np.array([True, True, False, False]), "both": np.array([True, True, True, False])}
    found = sliced(label, score, slices)
    assert found["one kind"] == {"samples": 2}
    assert found["both"]["auc"] == 0.5


def test_relative_improvement_counts_from_chance() -> None:
    """(0.8 - 0.5) / (0.7 - 0.5) - 1."""
    assert relative_improvement(0.8, 0.7) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"0\.5"):
        relative_improvement(0.8, 0.5)


def test_variations_are_combined_and_named() -> None:
    """Two fields of two values make four configs."""
    found = dict(varied(config_of(), {"adaptor": ["hea", "mlp"], "dedicated_experts": [2, 4]}))
    assert list(found) == [
        "adaptor hea, dedicated_experts 2",
        "adaptor hea, dedicated_experts 4",
        "adaptor mlp, dedicated_experts 2",
        "adaptor mlp, dedicated_experts 4",
    ]
    assert found["adaptor mlp, dedicated_experts 4"].dedicated_experts == 4


def test_a_value_out_of_bounds_is_refused_by_its_field() -> None:
    """Before anything is trained."""
    with pytest.raises(InvalidConfig, match="dedicated_experts: "):
        list(varied(config_of(), {"dedicated_experts": [2, 0]}))
