"""Layers, the adaptor and the backbones of services.ctr."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from services.ctr.backbones import BACKBONES
from services.ctr.batch import PADDING, FeatureSpec, RankingBatch, rating_place, rating_places
from services.ctr.hybrid_expert_adaptor import AdaptorConfig, HybridExpertAdaptor
from services.ctr.knowledge_augmented import DistinctKnowledge, KnowledgeAugmented, hide_ids
from services.ctr.layers import Dice, TargetAttention
from services.trainer.release.export import ExportedScorer, export_adaptor, export_scorer

SPEC = FeatureSpec(item_count=30, field_counts=(7, 5), maximum_rating=5, augmented_width=8, embedding_width=8)
KNOWLEDGE = 12
Kind = Literal["hea", "moe", "mlp"]
Sides = Literal["both", "item", "user"]
ABLATIONS = [(kind, sides) for kind in get_args(Kind) for sides in get_args(Sides)]
GOLDEN = {
    "din": [[-0.2252372, -0.2448506, -0.3472808]],
    "dien": [[0.0321982, -0.1714611, 0.038285]],
    "dien-gru": [[0.0311353, -0.1790601, 0.0366463]],
    "dien-agru": [[0.0338818, -0.1715988, 0.0432822]],
    "dien-augru": [[0.0298963, -0.1746189, 0.0383528]],
    "dnn": [[0.1038533, 0.0446341, 0.0521378]],
    "dcn": [[-0.4042108, -0.6348078, -0.2941251]],
    "dcnv2": [[-0.0570362, -0.3063752, -0.1663437]],
    "deepfm": [[0.5684392, 1.3560673, 0.2738052]],
    "xdeepfm": [[2.0797367, 2.3588893, 1.6943026]],
    "autoint": [[-0.1178895, -0.1749565, -0.1669125]],
    "fibinet": [[0.0055283, 0.1015475, -0.0261777]],
    "fignn": [[0.451638, -1.0826504, -0.8465377]],
}


def batch(users: int, candidates: int, history: int = 6, seed: int = 0) -> RankingBatch:
    random = torch.Generator().manual_seed(seed)

    def index(high: int, *shape: int) -> Tensor:
        return torch.randint(1, high, shape, generator=random)

    past = index(30, users, history)
    past[:, history // 2 :] = PADDING
    return RankingBatch(
        item_id=index(30, users, candidates),
        item_fields=index(5, users, candidates, 2),
        item_augmented=torch.rand(users, candidates, 8, generator=random),
        history_item_id=past,
        history_fields=index(5, users, history, 2) * (past != PADDING).unsqueeze(-1),
        history_rating=index(6, users, history).float() * (past != PADDING),
        user_augmented=torch.rand(users, 8, generator=random),
    )


class TestTargetAttention:
    """The factored attention of DIN."""

    @pytest.mark.parametrize("candidates", [1, 9])
    def test_it_equals_the_formula_written_out(self, candidates: int) -> None:
        """W [q, k, q - k, q * k] of every pair, for one candidate and for several."""
        torch.manual_seed(0)
        attention = TargetAttention(width=5).eval()
        q, k = torch.rand(3, candidates, 5), torch.rand(3, 4, 5)
        pairs_q = q.unsqueeze(2).expand(-1, -1, 4, -1)
        pairs_k = k.unsqueeze(1).expand(-1, candidates, -1, -1)
        written_out = attention.first(torch.cat([pairs_q, pairs_k, pairs_q - pairs_k, pairs_q * pairs_k], dim=-1))
        torch.testing.assert_close(attention.first_layer(q, k), written_out, atol=1e-5, rtol=1e-5)

    def test_padding_has_no_influence(self) -> None:
        """Whatever stands in a masked place, the interest is the same."""
        torch.manual_seed(0)
        attention = TargetAttention(width=5).eval()
        q, k, mask = torch.rand(2, 3, 5), torch.rand(2, 4, 5), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 0]])
        noisy = k + torch.rand_like(k) * (1 - mask).unsqueeze(-1) * 100
        torch.testing.assert_close(attention(q, k, mask), attention(q, noisy, mask))

    def test_padding_counts_in_no_statistics(self) -> None:
        """In training, where Dice normalises over the batch: more padding changes no interest and no running mean."""
        torch.manual_seed(0)
        narrow, wide = TargetAttention(width=4).train(), TargetAttention(width=4).train()
        wide.load_state_dict(narrow.state_dict())
        candidates, history = torch.rand(5, 3, 4), torch.rand(5, 6, 4)
        mask = torch.tensor([[1.0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [1] * 6, [0] * 6, [1, 1, 0, 0, 0, 0]])
        padded = torch.cat([history, torch.full((5, 9, 4), 7.0)], dim=1)
        longer = torch.cat([mask, torch.zeros(5, 9)], dim=1)
        torch.testing.assert_close(narrow(candidates, history, mask), wide(candidates, padded, longer))
        for name, value in narrow.state_dict().items():
            torch.testing.assert_close(wide.state_dict()[name], value)

    @pytest.mark.parametrize("entries", [0, 1])
    def test_a_batch_without_a_pair_of_entries_is_trained_on(self, entries: int) -> None:
        """There is no variance to normalise by, and no NaN."""
        attention = TargetAttention(width=4).train()
        mask = torch.zeros(2, 3)
        mask[0, :entries] = 1
        interest = attention(torch.rand(2, 1, 4), torch.rand(2, 3, 4), mask)
        interest.sum().backward()
        assert torch.isfinite(interest).all()
        assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in attention.parameters())

    def test_an_empty_history_gives_no_interest(self) -> None:
        """All zeros, and no NaN."""
        attention = TargetAttention(width=5).eval()
        interest = attention(torch.rand(1, 3, 5), torch.rand(1, 4, 5), torch.zeros(1, 4))
        assert torch.equal(interest, torch.zeros(1, 3, 5))


def test_every_half_star_has_a_place_of_its_own() -> None:
    """And no rating is taken for none given."""
    stars = torch.arange(0, 5.5, 0.5)
    assert rating_place(stars, rating_places(5)).tolist() == list(range(11))
    assert rating_place(torch.tensor([4.9, 7.0, -1.0]), rating_places(5)).tolist() == [10, 10, 0]


def test_dice_follows_its_formula_in_evaluation() -> None:
    """With running statistics 0 and 1 the gate is the plain sigmoid."""
    dice = Dice(3).eval()
    dice.alpha.data.fill_(0.25)
    values = torch.tensor([[-1.0, 0.0, 2.0]])
    gate = torch.sigmoid(values)
    torch.testing.assert_close(dice(values), gate * values + (1 - gate) * 0.25 * values, atol=1e-6, rtol=1e-6)


class TestHybridExpertAdaptor:
    """Shared and dedicated experts behind a gate a side."""

    def adaptor(self) -> HybridExpertAdaptor:
        torch.manual_seed(1)
        config = AdaptorConfig(KNOWLEDGE, augmented_width=8, shared_experts=2, dedicated_experts=3)
        return HybridExpertAdaptor(config).eval()

    def test_an_output_is_the_gated_sum_of_its_experts(self) -> None:
        """Written out expert by expert."""
        adaptor, knowledge = self.adaptor(), torch.rand(4, KNOWLEDGE)
        weights = torch.softmax(adaptor.item_gate(knowledge), dim=-1)
        experts = [*adaptor.shared, *adaptor.item]
        expected = sum(weights[:, [e]] * expert(knowledge) for e, expert in enumerate(experts))
        torch.testing.assert_close(adaptor.adapt_items(knowledge), expected)

    def test_outputs_are_never_negative(self) -> None:
        """ReLU follows the last layer too, as in the paper."""
        assert (self.adaptor().adapt_users(torch.randn(100, KNOWLEDGE)) >= 0).all()

    @pytest.mark.parametrize("kind", get_args(Kind))
    @pytest.mark.parametrize("side", ["item", "user"])
    def test_a_gates_weights_sum_to_one(self, kind: Kind, side: Literal["item", "user"]) -> None:
        """One weight for each expert that the kind has."""
        config = AdaptorConfig(KNOWLEDGE, augmented_width=8, shared_experts=2, dedicated_experts=3, kind=kind)
        weights = HybridExpertAdaptor(config).gate(torch.randn(50, KNOWLEDGE) * 10, side)
        assert weights.shape == (50, 1 if kind == "mlp" else 5)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(50))

    @pytest.mark.parametrize("kind", ["moe", "mlp"])
    def test_the_simpler_kinds_treat_both_sides_alike(self, kind: Literal["moe", "mlp"]) -> None:
        """One mixture, or one plain expert, for items and users."""
        adaptor = HybridExpertAdaptor(AdaptorConfig(KNOWLEDGE, augmented_width=8, kind=kind)).eval()
        knowledge = torch.randn(5, KNOWLEDGE)
        torch.testing.assert_close(adaptor.adapt_items(knowledge), adaptor.adapt_users(knowledge))

    def test_a_plain_expert_is_the_whole_of_the_mlp(self) -> None:
        """Its gate is 1."""
        adaptor = HybridExpertAdaptor(AdaptorConfig(KNOWLEDGE, augmented_width=8, kind="mlp")).eval()
        knowledge = torch.randn(5, KNOWLEDGE)
        torch.testing.assert_close(adaptor.adapt_items(knowledge), adaptor.shared[0](knowledge))

    @pytest.mark.parametrize(("kind", "sides"), ABLATIONS)
    def test_an_unused_sides_vectors_are_zeros(self, kind: Kind, sides: Sides) -> None:
        """Of the same shape, so that nothing else changes."""
        torch.manual_seed(1)
        adaptor = HybridExpertAdaptor(AdaptorConfig(KNOWLEDGE, augmented_width=8, kind=kind, sides=sides)).eval()
        item, user = adaptor(torch.randn(3, KNOWLEDGE), torch.randn(4, KNOWLEDGE))
        assert (item.shape, user.shape) == ((3, 8), (4, 8))
        assert (bool(item.any()), bool(user.any())) == (sides != "user", sides != "item")

    @pytest.mark.parametrize(("kind", "sides"), ABLATIONS)
    def test_no_parameter_is_left_without_gradient(self, kind: Kind, sides: Sides) -> None:
        """Training in several processes refuses a network that has one."""
        torch.manual_seed(1)
        adaptor = HybridExpertAdaptor(AdaptorConfig(KNOWLEDGE, augmented_width=8, kind=kind, sides=sides))
        item, user = adaptor(torch.randn(20, KNOWLEDGE), torch.randn(20, KNOWLEDGE))
        (item.sum() + user.sum()).backward()
        assert [name for name, parameter in adaptor.named_parameters() if parameter.grad is None] == []
        experts = [*adaptor.shared, *adaptor.item, *adaptor.user]
        assert all(expert[0].weight.grad.any() for expert in experts)

    @pytest.mark.parametrize("width", [4, 384, 1000])
    def test_knowledge_may_have_any_width(self, width: int) -> None:
        """The output keeps its own."""
        assert HybridExpertAdaptor(AdaptorConfig(width)).adapt_items(torch.randn(2, 3, width)).shape == (2, 3, 32)

    @pytest.mark.parametrize(("kind", "sides"), [("hea", "item"), ("hea", "user"), ("moe", "item"), ("mlp", "both")])
    def test_every_ablation_exports(self, kind: Kind, sides: Sides, tmp_path: Path) -> None:
        """One file with the inputs and outputs of the whole adaptor, which computes the same for any number of rows."""
        adaptor = HybridExpertAdaptor(AdaptorConfig(KNOWLEDGE, augmented_width=8, kind=kind, sides=sides)).eval()
        export_adaptor(adaptor, tmp_path / "adaptor.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "adaptor.onnx")
        assert [value.name for value in session.get_inputs()] == ["item_knowledge", "user_knowledge"]
        item, user = torch.randn(6, KNOWLEDGE), torch.randn(9, KNOWLEDGE)
        augmented = ["item_augmented", "user_augmented"]
        got = session.run(augmented, {"item_knowledge": item.numpy(), "user_knowledge": user.numpy()})
        for side, expected in zip(got, adaptor(item, user), strict=True):
            np.testing.assert_allclose(side, expected.detach().numpy(), atol=1e-5)

    @pytest.mark.parametrize(
        ("kind", "sides", "experts"),
        [
            ("hea", "both", {"item": "shared-1,shared-2,item-1,item-2", "user": "shared-1,shared-2,user-1,user-2"}),
            ("moe", "both", dict.fromkeys(("item", "user"), "shared-1,shared-2,shared-3,shared-4")),
            ("hea", "user", {"user": "shared-1,shared-2,user-1,user-2"}),
            ("mlp", "item", {"item": "shared-1"}),
        ],
    )
    def test_the_exported_file_says_how_experts_were_mixed(
        self, kind: Kind, sides: Sides, experts: dict[str, str], tmp_path: Path
    ) -> None:
        """A gate's weights for each side that is used, with the experts' names; rows sum to 1."""
        config = AdaptorConfig(KNOWLEDGE, augmented_width=8, dedicated_experts=2, kind=kind, sides=sides)
        adaptor = HybridExpertAdaptor(config).eval()
        export_adaptor(adaptor, tmp_path / "adaptor.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "adaptor.onnx")
        names, vectors = session.get_modelmeta().custom_metadata_map, torch.randn(5, KNOWLEDGE)
        outputs = [value.name for value in session.get_outputs()][2:]
        assert outputs == [f"{side}_experts" for side in experts]
        for side, output in zip(experts, outputs, strict=True):
            inputs = {"item_knowledge": vectors.numpy(), "user_knowledge": vectors.numpy()}
            weights = session.run([output], inputs)[0]
            assert names[output] == experts[side]
            np.testing.assert_allclose(weights, adaptor.gate(vectors, side).detach().numpy(), atol=1e-5)
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)

    def test_the_sides_share_the_shared_experts_only(self) -> None:
        """A dedicated expert of the items, and their gate, have no gradient from users."""
        adaptor = self.adaptor()
        adaptor.adapt_users(torch.rand(4, KNOWLEDGE)).sum().backward()
        assert all(parameter.grad is None for parameter in [*adaptor.item.parameters(), adaptor.item_gate.weight])
        assert all(parameter.grad is not None for parameter in adaptor.user.parameters())
        assert all(parameter.grad is not None for parameter in adaptor.shared.parameters())


@pytest.mark.parametrize("name", BACKBONES)
class TestBackbones:
    """One contract for every backbone."""

    def test_one_logit_comes_for_each_candidate(self, name: str) -> None:
        """(B, C)."""
        assert BACKBONES[name](SPEC).eval()(batch(3, 4)).shape == (3, 4)

    def test_a_candidate_is_scored_alike_alone_and_among_others(self, name: str) -> None:
        """A list is no context to a pointwise backbone."""
        torch.manual_seed(0)
        network, asked = BACKBONES[name](SPEC).eval(), batch(2, 5)
        alone = asked._replace(
            item_id=asked.item_id[:, 2:3],
            item_fields=asked.item_fields[:, 2:3],
            item_augmented=asked.item_augmented[:, 2:3],
        )
        torch.testing.assert_close(network(asked)[:, 2:3], network(alone), atol=1e-5, rtol=1e-5)

    def test_knowledge_changes_the_logits_and_the_base_model_has_no_such_fields(self, name: str) -> None:
        """With augmented width 0 the vectors are not looked at."""
        torch.manual_seed(0)
        asked = batch(2, 5)
        changed = asked._replace(item_augmented=asked.item_augmented + 1)
        network = BACKBONES[name](SPEC).eval()
        base = BACKBONES[name](FeatureSpec(30, (7, 5), 5, augmented_width=0, embedding_width=8)).eval()
        assert not torch.equal(network(asked), network(changed))
        assert torch.equal(base(asked), base(changed))

    def test_a_fixed_seed_gives_fixed_logits(self, name: str) -> None:
        """Golden values: a change of the architecture has to be meant."""
        torch.manual_seed(7)
        logits = BACKBONES[name](SPEC).eval()(batch(1, 3, seed=7))
        np.testing.assert_allclose(logits.detach().numpy(), GOLDEN[name], atol=1e-4)

    def test_the_exported_scorer_equals_the_network_for_any_number_of_candidates(
        self, name: str, tmp_path: Path
    ) -> None:
        """To 1e-5, for users at once too."""
        torch.manual_seed(0)
        config = AdaptorConfig(KNOWLEDGE, augmented_width=8)
        network = KnowledgeAugmented(BACKBONES[name](SPEC), config).eval()
        scorer = ExportedScorer(network.backbone).eval()
        export_scorer(scorer, tmp_path / "scorer.onnx", {"L": 4, "F": 2, "A": 8})
        session = onnxruntime.InferenceSession(tmp_path / "scorer.onnx")
        for users, candidates in ((1, 1), (1, 200), (3, 17)):
            asked = batch(users, candidates, history=4, seed=candidates)
            expected = scorer(*asked).detach().numpy()
            scores = session.run(None, {field: value.numpy() for field, value in asked._asdict().items()})[0]
            np.testing.assert_allclose(scores, expected, atol=1e-5)


class TestMissingKnowledge:
    """What training hides, and what it never hides outside of training."""

    def test_unknown_knowledge_counts_as_zeros(self) -> None:
        """The adaptor's bias must not speak for a subject without knowledge."""
        torch.manual_seed(0)
        config = AdaptorConfig(KNOWLEDGE, augmented_width=8)
        network = KnowledgeAugmented(BACKBONES["din"](SPEC), config).eval()
        asked = batch(2, 1)
        nothing = network(
            asked,
            DistinctKnowledge(torch.rand(1, KNOWLEDGE), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1)),
            DistinctKnowledge(torch.rand(1, KNOWLEDGE), torch.zeros(2, dtype=torch.long), torch.zeros(2)),
        )
        zeros = asked._replace(item_augmented=torch.zeros(2, 1, 8), user_augmented=torch.zeros(2, 8))
        torch.testing.assert_close(nothing, network.backbone(zeros))

    def test_ids_are_hidden_at_the_rate_asked(self) -> None:
        """None at 0, all at 1."""
        ids = torch.randint(2, 30, (100, 3))
        assert torch.equal(hide_ids(ids, 0.0, 1), ids)
        assert torch.equal(hide_ids(ids, 1.0, 1), torch.ones_like(ids))
