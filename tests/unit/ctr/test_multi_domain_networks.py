"""The networks of several domains on categorical features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.multi_domain import MULTI_DOMAIN
from services.ctr.multi_domain.mmoe import gated
from services.ctr.multi_domain.pepnet import GateUnit
from services.ctr.multi_domain.star import PartitionedNorm, StarLayer

SPEC = FeatureSpec(item_count=30, field_counts=(7, 5), maximum_rating=5, augmented_width=0, embedding_width=8)
DOMAINS = 3
GOLDEN = {
    "shared-bottom": [-0.0007363, -0.0501223, 0.0719224],
    "mmoe": [-0.0121317, -0.0113764, -0.0337648],
    "ple": [0.0061154, -0.0148967, 0.0365354],
    "star": [0.1611409, -0.6493093, -0.0229865],
    "pepnet": [0.0145382, 0.0210844, 0.0856858],
}
OWN_PARTS = {  # names of what belongs to one domain, by its place
    "shared-bottom": ["towers.{}."],
    "mmoe": ["gates.{}.", "towers.{}."],
    "ple": ["gates.{}.", "towers.{}."],
    "star": ["norm.domains.{}.", ".weights.{}", ".biases.{}", "domain.vectors.{}"],
    "pepnet": ["domain.vectors.{}"],
}


def batch(users: int, candidates: int = 1, seed: int = 7) -> RankingBatch:
    """A batch of users with six places of history, half of them empty."""
    random = torch.Generator().manual_seed(seed)

    def index(high: int, *shape: int) -> Tensor:
        return torch.randint(1, high, shape, generator=random)

    past = index(30, users, 6)
    past[:, 3:] = 0
    there = (past > 0).unsqueeze(-1)
    return RankingBatch(
        item_id=index(30, users, candidates),
        item_fields=index(5, users, candidates, 2),
        item_augmented=torch.empty(0),
        history_item_id=past,
        history_fields=index(5, users, 6, 2) * there,
        history_rating=index(6, users, 6).float() * there.squeeze(-1),
        user_augmented=torch.empty(0),
    )


def network(name: str, seed: int = 0) -> nn.Module:
    """Of three domains, with its default sizes."""
    torch.manual_seed(seed)
    return MULTI_DOMAIN[name](SPEC, DOMAINS)


@pytest.mark.parametrize("name", MULTI_DOMAIN)
class TestMultiDomainNetworks:
    """One contract for every network of several domains."""

    def test_a_fixed_seed_gives_fixed_logits(self, name: str) -> None:
        """Golden values: a change of the architecture has to be meant."""
        logits = network(name, seed=7).eval()(batch(3), torch.arange(3))
        assert logits.shape == (3, 1)
        np.testing.assert_allclose(logits.detach().numpy()[:, 0], GOLDEN[name], atol=1e-4)

    def test_a_sample_is_scored_by_its_own_domain(self, name: str) -> None:
        """The same sample has another logit in each domain, whatever the others of its batch are."""
        made, asked = self._trained_apart(name), batch(6)
        alone = torch.stack([made(asked, torch.full((6,), place)) for place in range(DOMAINS)])  # (M, B, C)
        mixed = torch.tensor([0, 1, 2, 2, 1, 0])
        torch.testing.assert_close(made(asked, mixed)[:, 0], alone[mixed, torch.arange(6), 0], atol=1e-5, rtol=1e-5)
        assert (alone.std(dim=0) > 1e-4).all()

    def test_a_domains_samples_reach_no_part_of_another(self, name: str) -> None:
        """Towers, gates, weights and embeddings of the others have no gradient; its own have one."""
        made = network(name).train()
        made(batch(8), torch.ones(8, dtype=torch.long)).square().sum().backward()
        moved = {key for key, value in made.named_parameters() if value.grad is not None and value.grad.any()}
        for place in range(DOMAINS):
            parts = [part.format(place) for part in OWN_PARTS[name]]
            assert all(any(part in key for key, _ in made.named_parameters()) for part in parts)
            reached = [part for part in parts if any(part in key for key in moved)]
            assert reached == (parts if place == 1 else [])

    def test_candidates_are_scored_alike_alone_and_among_others(self, name: str) -> None:
        """A list is no context."""
        made, asked, domain = self._trained_apart(name), batch(2, candidates=5), torch.tensor([0, 2])
        alone = asked._replace(item_id=asked.item_id[:, 2:3], item_fields=asked.item_fields[:, 2:3])
        torch.testing.assert_close(made(asked, domain)[:, 2:3], made(alone, domain), atol=1e-5, rtol=1e-5)

    def test_names_of_a_smaller_networks_parts_are_those_of_a_larger_one(self, name: str) -> None:
        """So it can grow by a domain and keep what it has."""
        small, large = (dict(MULTI_DOMAIN[name](SPEC, count).named_parameters()) for count in (2, 3))
        assert set(small) < set(large)
        assert all(large[key].shape == value.shape for key, value in small.items())

    def _trained_apart(self, name: str) -> nn.Module:
        """In evaluation, with weights at random where training would begin alike for all domains."""
        made = network(name)
        with torch.no_grad():
            for key, parameter in made.named_parameters():
                if "weights." in key or "biases." in key:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        return made.eval()


def test_experts_are_weighed_by_the_softmax_of_their_scores() -> None:
    """Written out for two experts."""
    outputs, scores = torch.randn(2, 3, 4, 2), torch.randn(2, 3, 2)
    share = torch.softmax(scores, dim=-1)
    expected = outputs[..., 0] * share[..., :1] + outputs[..., 1] * share[..., 1:]
    torch.testing.assert_close(gated(outputs, scores), expected)


class TestStar:
    """Normalisation and weights of star topology."""

    def test_each_domain_is_normalised_by_its_own_samples(self) -> None:
        """Mean 0 and variance 1 within a domain, also where the domains lie far apart."""
        norm, domain = PartitionedNorm(4, 2).train(), torch.tensor([0, 1] * 50)
        values = torch.randn(100, 1, 4) * 3 + domain.view(-1, 1, 1) * 100
        normal = norm(values, domain)
        for place in (0, 1):
            own = normal[domain == place].flatten(0, 1)
            torch.testing.assert_close(own.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)
            torch.testing.assert_close(own.var(dim=0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)

    def test_statistics_of_a_domain_that_is_not_there_stay(self) -> None:
        """A batch of one domain says nothing of another."""
        norm = PartitionedNorm(4, 2).train()
        norm(torch.randn(10, 1, 4) + 3, torch.zeros(10, dtype=torch.long))
        assert norm.domains[0].mean.abs().min() > 0.1
        assert torch.equal(norm.domains[1].mean, torch.zeros(4))

    def test_a_single_sample_of_a_domain_can_be_trained(self) -> None:
        """It has no variance: the statistics that are kept stand in."""
        norm = PartitionedNorm(4, 2).train()
        normal = norm(torch.randn(3, 1, 4), torch.tensor([0, 0, 1]))
        assert torch.isfinite(normal).all()

    def test_a_domains_weights_are_multiplied_with_the_shared_ones(self) -> None:
        """Equation 4 written out."""
        layer, values = StarLayer(3, 2, domains=2), torch.randn(5, 1, 3)
        nn.init.normal_(layer.weights[1])
        nn.init.normal_(layer.biases[1])
        weight = layer.shared.weight * layer.weights[1]
        torch.testing.assert_close(layer(values, 1), values @ weight.T + layer.shared.bias + layer.biases[1])


def test_a_gate_unit_gives_factors_between_zero_and_two() -> None:
    """And 1 where its last layer says nothing."""
    gate = GateUnit(4, 8, 3)
    assert ((gate(torch.randn(50, 4) * 10) >= 0) & (gate(torch.randn(50, 4) * 10) <= 2)).all()
    nn.init.zeros_(gate.layers[2].weight)
    nn.init.zeros_(gate.layers[2].bias)
    torch.testing.assert_close(gate(torch.randn(2, 4)), torch.ones(2, 3))
