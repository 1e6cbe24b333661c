"""Lists to re-rank, their metrics, and whether a difference is one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import InteractionLog, interaction_log, sample_rows
from services.trainer.data.list_samples import list_samples
from services.trainer.data.samples import split
from services.trainer.evaluation.metrics import list_metrics
from services.trainer.evaluation.significance import RankedScores, paired_bootstrap


@pytest.fixture(scope="module")
def log(dataset: Dataset) -> InteractionLog:
    """The log of 40 users with 60 ratings each: 30 samples a user."""
    return interaction_log(dataset)[0]


def test_a_list_holds_four_interactions_in_a_row_and_six_other_items(dataset: Dataset, log: InteractionLog) -> None:
    """Shuffled, no item twice; a run of fewer than four at the end is left out."""
    samples = list_samples(log, len(dataset.items), seed=3)
    assert len(samples) == 40 * (30 // 4)
    for row, items, label in zip(samples.row, samples.item, samples.label, strict=True):
        real = dict(zip(log.item[row : row + 4], log.label[row : row + 4], strict=True))
        assert len(set(items)) == 10
        assert set(real) <= set(items)
        assert len(set(log.user[row : row + 4])) == 1
        assert {item: got for item, got in zip(items, label, strict=True) if item in real} == real
        assert all(got == 0 for item, got in zip(items, label, strict=True) if item not in real)
    assert set(samples.row) <= set(sample_rows(log))


def test_the_place_in_a_list_tells_nothing(dataset: Dataset, log: InteractionLog) -> None:
    """Positives come at every place."""
    label = list_samples(log, len(dataset.items), seed=3).label
    assert (label.mean(axis=0) > 0).all()


def test_a_list_across_a_cut_belongs_to_no_part(dataset: Dataset, log: InteractionLog) -> None:
    """Its later labels would be trained on although its moment is before the cut."""
    samples = list_samples(log, len(dataset.items), seed=3)
    parts = split(log, samples, "by-time", seed=0)
    last = [log.time[part.row + 3].max() for part in (parts.training, parts.validation)]
    first = [log.time[part.row].min() for part in (parts.validation, parts.test)]
    assert last[0] < first[0]
    assert last[1] < first[1]


def test_a_catalogue_too_small_for_a_list_is_refused(log: InteractionLog) -> None:
    """Instead of drawing for ever."""
    with pytest.raises(ValueError, match="at least 10 items"):
        list_samples(log, 9, seed=0)


class TestListMetrics:
    """MAP, NDCG and clicks of each list."""

    def test_they_are_what_a_hand_computes(self) -> None:
        """Ranked labels 1, 0, 1, 0: two positives at places 1 and 3."""
        found = list_metrics(np.array([[0, 1, 1, 0]], dtype=np.float32), np.array([[0.3, 0.4, 0.2, 0.1]]))
        assert found["clicks@1"] == 1
        assert found["clicks@3"] == 2
        assert found["map@1"] == 1
        assert found["map@3"] == pytest.approx((1 + 2 / 3) / 2)
        assert found["ndcg@3"] == pytest.approx((1 + 0.5) / (1 + 1 / np.log2(3)))

    def test_ndcg_equals_scikit_learns(self) -> None:
        """On random lists, mean over all of them."""
        random = np.random.default_rng(0)
        label, score = random.integers(2, size=(50, 10)).astype(np.float32), random.random((50, 10))
        label[:, 0] = 1
        found = list_metrics(label, score)
        for cut in (3, 5, 7):
            assert found[f"ndcg@{cut}"].mean() == pytest.approx(ndcg_score(label, score, k=cut))

    def test_a_list_without_positives_has_no_map(self) -> None:
        """NaN, so that it counts for nothing; its clicks are none."""
        found = list_metrics(np.zeros((1, 10), dtype=np.float32), np.arange(10.0)[None])
        assert np.isnan(found["map@5"]).all()
        assert found["clicks@7"] == 0


class TestSignificance:
    """The paired bootstrap over seeds and users."""

    def test_weights_count_like_repeated_samples(self) -> None:
        """And ties by half, as scikit-learn has it."""
        random = np.random.default_rng(1)
        label, score = random.integers(2, size=200).astype(np.float32), random.random(200).round(1)
        weight = random.integers(4, size=200)
        repeated = np.repeat(np.arange(200), weight)
        expected = roc_auc_score(label[repeated], score[repeated])
        assert RankedScores(label, score).auc(weight.astype(float)) == pytest.approx(expected)

    def scored(self, strength: float, seeds: int = 3) -> tuple[np.ndarray, list[RankedScores]]:
        random = np.random.default_rng(7)
        label = random.integers(2, size=2000).astype(np.float32)
        noise = np.random.default_rng(8)
        return np.arange(2000) // 20, [
            RankedScores(label, strength * label + noise.normal(size=2000)) for _ in range(seeds)
        ]

    def test_a_clear_gain_is_significant(self) -> None:
        """Its interval lies above zero."""
        user, weak = self.scored(0.5)
        _, strong = self.scored(1.0)
        found = paired_bootstrap(user, [r.auc for r in weak], [r.auc for r in strong], draws=200)
        assert 0 < found.low < found.mean < found.high
        assert found.p == pytest.approx(2 / 201)

    def test_equal_scores_differ_by_nothing(self) -> None:
        """No gain, and no significance."""
        user, scores = self.scored(0.5)
        found = paired_bootstrap(user, [r.auc for r in scores], [r.auc for r in scores], draws=50)
        assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
