"""The re-rankers' contract, and the loss over lists."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from services.ctr.batch import PADDING, FeatureSpec, RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.ctr.rerankers import RERANKERS, attention_loss
from services.ctr.rerankers.prm import positions
from services.trainer.release.export import ExportedScorer, export_scorer

SPEC = FeatureSpec(item_count=30, field_counts=(7, 5), maximum_rating=5, augmented_width=8, embedding_width=8)
BASE = FeatureSpec(item_count=30, field_counts=(7, 5), maximum_rating=5, augmented_width=0, embedding_width=8)
GOLDEN = {
    "dlcm": [[-0.0773001, 0.0029563, -0.0166151]],
    "prm": [[-1.0727727, -0.8516827, -0.8824495]],
    "setrank": [[-0.4625126, -0.2541311, -0.8251196]],
    "mir": [[-0.5624334, -0.4255066, -0.3903452]],
}


def lists(users: int, candidates: int, seed: int = 0) -> RankingBatch:
    random = torch.Generator().manual_seed(seed)

    def index(high: int, *shape: int) -> Tensor:
        return torch.randint(1, high, shape, generator=random)

    past = index(30, users, 6)
    past[:, 3:] = PADDING
    return RankingBatch(
        item_id=index(30, users, candidates),
        item_fields=index(5, users, candidates, 2),
        item_augmented=torch.rand(users, candidates, 8, generator=random),
        history_item_id=past,
        history_fields=index(5, users, 6, 2) * (past != PADDING).unsqueeze(-1),
        history_rating=index(6, users, 6).float() * (past != PADDING),
        user_augmented=torch.rand(users, 8, generator=random),
    )


def reranker(name: str, spec: FeatureSpec = SPEC) -> torch.nn.Module:
    torch.manual_seed(7)
    return RERANKERS[name](spec).eval()


@pytest.mark.parametrize("name", RERANKERS)
class TestRerankers:
    """One contract for every re-ranker."""

    def test_one_logit_comes_for_each_candidate_of_a_list_of_any_length(self, name: str) -> None:
        """(B, C)."""
        for candidates in (1, 4, 10):
            assert reranker(name)(lists(3, candidates)).shape == (3, candidates)

    def test_a_candidate_is_judged_among_the_others(self, name: str) -> None:
        """Another neighbour, another score."""
        if name == "dlcm":
            changed_place, watched_place = 0, 3
        else:
            changed_place, watched_place = 3, 0
        asked = lists(1, 4)
        item_id = asked.item_id.clone()
        item_id[0, changed_place] = item_id[0, changed_place] % 29 + 1
        before, after = (reranker(name)(b) for b in (asked, asked._replace(item_id=item_id)))
        assert not torch.isclose(before[0, watched_place], after[0, watched_place], atol=1e-6)

    def test_knowledge_changes_the_scores(self, name: str) -> None:
        """Of the item and of the user."""
        asked = lists(2, 4)
        plain = reranker(name)(asked)
        for field in ("item_augmented", "user_augmented"):
            changed = asked._replace(**{field: getattr(asked, field) + 1})
            assert not torch.allclose(plain, reranker(name)(changed), atol=1e-5)

    def test_without_knowledge_fields_augmented_vectors_change_nothing(self, name: str) -> None:
        """The base model."""
        asked = lists(2, 4)
        changed = asked._replace(item_augmented=asked.item_augmented + 1, user_augmented=asked.user_augmented + 1)
        torch.testing.assert_close(reranker(name, BASE)(asked), reranker(name, BASE)(changed))

    def test_what_a_user_liked_changes_the_scores(self, name: str) -> None:
        """Another first entry, and another rating of it."""
        asked = lists(2, 4)
        item_id, rating = asked.history_item_id.clone(), asked.history_rating.clone()
        item_id[:, 0] = item_id[:, 0] % 29 + 1
        rating[:, 0] = (rating[:, 0] + 1) % 6
        for changed in (asked._replace(history_item_id=item_id), asked._replace(history_rating=rating)):
            assert not torch.allclose(reranker(name)(asked), reranker(name)(changed), atol=1e-5)

    def test_padding_of_the_history_changes_nothing(self, name: str) -> None:
        """Whatever its fields and ratings hold."""
        asked = lists(2, 4)
        noisy = asked._replace(
            history_fields=torch.where(asked.history_item_id.unsqueeze(-1) == PADDING, 3, asked.history_fields),
            history_rating=torch.where(asked.history_item_id == PADDING, 5.0, asked.history_rating),
        )
        torch.testing.assert_close(reranker(name)(asked), reranker(name)(noisy))

    def test_padding_at_the_end_of_a_list_changes_nothing(self, name: str) -> None:
        """A list of 4 among lists of 6."""
        longer = lists(2, 6)
        item_id = longer.item_id.clone()
        item_id[:, 4:] = PADDING
        cut = longer._replace(
            item_id=longer.item_id[:, :4],
            item_fields=longer.item_fields[:, :4],
            item_augmented=longer.item_augmented[:, :4],
        )
        padded = reranker(name)(longer._replace(item_id=item_id))
        torch.testing.assert_close(padded[:, :4], reranker(name)(cut), atol=1e-5, rtol=1e-5)

    def test_a_user_without_history_is_ranked(self, name: str) -> None:
        """No NaN."""
        asked = lists(2, 4)
        nobody = asked._replace(
            history_item_id=torch.zeros_like(asked.history_item_id),
            history_fields=torch.zeros_like(asked.history_fields),
            history_rating=torch.zeros_like(asked.history_rating),
        )
        assert torch.isfinite(reranker(name)(nobody)).all()

    def test_logits_stay_as_they_are_under_a_fixed_seed(self, name: str) -> None:
        """Golden values: a change of the architecture has to be meant."""
        logits = reranker(name)(lists(1, 3, seed=7))
        np.testing.assert_allclose(logits.detach().numpy(), GOLDEN[name], atol=1e-4)

    def test_the_exported_scorer_equals_the_network_for_lists_of_any_length(self, name: str, tmp_path: Path) -> None:
        """To 1e-5."""
        network = KnowledgeAugmented(reranker(name), AdaptorConfig(12, augmented_width=8)).eval()
        export_scorer(ExportedScorer(network.backbone).eval(), tmp_path / "scorer.onnx", {"L": 6, "F": 2, "A": 8})
        session = onnxruntime.InferenceSession(tmp_path / "scorer.onnx")
        for users, candidates in ((1, 1), (2, 10), (3, 5)):
            asked = lists(users, candidates, seed=candidates)
            got = session.run(None, {field: value.numpy() for field, value in asked._asdict().items()})[0]
            expected = torch.sigmoid(network.backbone(asked)).detach().numpy()
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["setrank", "mir"])
def test_another_order_of_a_set_gives_the_logits_in_that_order(name: str) -> None:
    """No positions."""
    asked, order = lists(2, 5), torch.tensor([3, 0, 4, 1, 2])
    turned = asked._replace(
        item_id=asked.item_id[:, order],
        item_fields=asked.item_fields[:, order],
        item_augmented=asked.item_augmented[:, order],
    )
    torch.testing.assert_close(reranker(name)(turned), reranker(name)(asked)[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dlcm", "prm"])
def test_a_list_with_places_is_judged_by_its_order(name: str) -> None:
    """A recurrence, or positions."""
    asked, order = lists(2, 5), torch.tensor([3, 0, 4, 1, 2])
    turned = asked._replace(
        item_id=asked.item_id[:, order],
        item_fields=asked.item_fields[:, order],
        item_augmented=asked.item_augmented[:, order],
    )
    assert not torch.allclose(reranker(name)(turned), reranker(name)(asked)[:, order], atol=1e-4)


class TestAttentionLoss:
    """Cross entropy between two distributions over a list."""

    def test_it_is_what_a_hand_computes(self) -> None:
        """Two of three candidates are positive, temperature 2."""
        logits, labels = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[1.0, 1.0, 0.0]])
        total = math.log(math.exp(1) + math.exp(0) + math.exp(-1))
        expected = -0.5 * (1 - total) - 0.5 * (0 - total)
        assert attention_loss(logits, labels, temperature=2.0).item() == pytest.approx(expected)

    def test_grades_are_made_shares_of_their_sum(self) -> None:
        """Even where they sum to less than 1."""
        logits, labels = torch.randn(2, 3), torch.tensor([[0.4, 0.1, 0.0], [0.0, 0.2, 0.0]])
        torch.testing.assert_close(attention_loss(logits, labels), attention_loss(logits, labels * 10))

    def test_a_list_without_positives_adds_nothing(self) -> None:
        """It has no distribution to be near to, and moves no logit; the mean is over all lists."""
        logits, labels = torch.randn(2, 4, requires_grad=True), torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0]])
        loss = attention_loss(logits, labels)
        loss.backward()
        torch.testing.assert_close(loss, attention_loss(logits[:1], labels[:1]) / 2)
        assert logits.grad is not None
        assert logits.grad[0].all()
        assert not logits.grad[1].any()


def test_positions_are_the_sines_and_cosines_of_a_places_number() -> None:
    """Slower waves in later columns."""
    got = positions(torch.zeros(2, 3, 4))
    expected = [[math.sin(p), math.sin(p / 100), math.cos(p), math.cos(p / 100)] for p in range(3)]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_an_odd_width_has_no_positions() -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match="width must be even, is 5"):
        RERANKERS["prm"](SPEC, width=5, heads=1)
