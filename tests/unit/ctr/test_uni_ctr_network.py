"""Uni-CTR's network: what padding, other prompts and other domains must never change."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from services.ctr.uni_ctr.domain_network import DomainNetwork, GeneralNetwork, UniCtrConfig
from services.ctr.uni_ctr.id_network import IdNetwork
from services.ctr.uni_ctr.ladders import LadderKind, LadderStack
from services.ctr.uni_ctr.language_model import LanguageModel, LowRank
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.pooling import AttentionPooling
from tests.tiny_language_models import CONFIGS, TOKENS, tiny_language_model, tiny_prompts

FAMILIES = sorted(CONFIGS)
WIDTH, POINTS = 16, 2
SMALL = UniCtrConfig(tower=(8, 4), gate_width=8)
DOMAINS = ("fashion", "music", "gifts")


def network(family: str = "bert", config: UniCtrConfig = SMALL, low_rank: LowRank | None = None) -> UniCtr:
    language_model = LanguageModel(tiny_language_model(family), 1, low_rank)
    torch.manual_seed(1)
    return UniCtr(language_model, config, DOMAINS).eval()


def on_ids(config: UniCtrConfig = SMALL) -> UniCtr:
    torch.manual_seed(1)
    return UniCtr(IdNetwork(TOKENS, WIDTH), config, DOMAINS).eval()


def padded(ids: Tensor, mask: Tensor, more: int) -> tuple[Tensor, Tensor]:
    """The same prompts, with more padding and with any tokens there."""
    junk = torch.randint(4, TOKENS, (len(ids), more))
    return torch.cat([ids, junk], dim=1), nn.functional.pad(mask, (0, more))


def gradients(module: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


class TestPadding:
    """Padding says nothing, wherever it is and whatever stands there."""

    @pytest.mark.parametrize("family", [*FAMILIES, "ids"])
    def test_padding_changes_no_logit(self, family: str) -> None:
        """Through language model, ladders, gate and towers at once."""
        asked = on_ids() if family == "ids" else network(family)
        ids, mask = tiny_prompts(4, 9)
        domain = torch.tensor([0, 1, 2, -1])
        with torch.no_grad():
            plain, more = asked(ids, mask, domain), asked(*padded(ids, mask, 5), domain)
        torch.testing.assert_close(more.own, plain.own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(more.general, plain.general, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("family", [*FAMILIES, "ids"])
    def test_states_of_padding_are_zeros(self, family: str) -> None:
        """So nothing of it can enter later."""
        asked = on_ids() if family == "ids" else network(family)
        ids, mask = tiny_prompts(3, 9)
        states = asked.hidden(ids, mask)
        assert states.shape == (3, POINTS, 9, WIDTH)
        assert states.movedim(2, 1)[mask == 0].abs().max() == 0

    @pytest.mark.parametrize("kind", [kind for kind in get_args(LadderKind) if kind != "none"])
    def test_ladders_do_not_read_padding(self, kind: LadderKind) -> None:
        """Other states there leave the real tokens' ladder as it is."""
        ladders = LadderStack(kind, WIDTH, POINTS, dropout=0.0).eval()
        mask = tiny_prompts(3, 9)[1]
        states = torch.randn(3, POINTS, 9, WIDTH)
        other = torch.where(mask[:, None, :, None] == 1, states, 100.0)
        torch.testing.assert_close(ladders(other, mask)[mask == 1], ladders(states, mask)[mask == 1])

    def test_the_gate_gives_padding_no_share(self) -> None:
        """Exactly none, and all to the rest; also where nothing is real."""
        gate, mask = AttentionPooling(WIDTH, 8), tiny_prompts(3, 9)[1]
        mask = torch.cat([mask, torch.zeros(1, 9, dtype=torch.long)])
        weights = gate.weights(torch.randn(4, 9, WIDTH), mask)
        assert weights[mask == 0].abs().max() == 0
        torch.testing.assert_close(weights.sum(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))

    @pytest.mark.parametrize("pooling", ["mean", "last"])
    def test_the_general_network_pools_real_tokens_alone(self, pooling: str) -> None:
        """Their mean, or the last of them."""
        general = GeneralNetwork(UniCtrConfig(tower=(8,), general_pooling=pooling), WIDTH).eval()  # type: ignore[arg-type]
        states, mask = torch.randn(2, POINTS, 4, WIDTH), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
        wanted = states[0, -1, :3].mean(dim=0) if pooling == "mean" else states[0, -1, 2]
        torch.testing.assert_close(general(states, mask)[0], general.tower(wanted))


class TestBatch:
    """A prompt's logit is its own."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_prompt_is_scored_alike_alone_and_among_others(self, family: str) -> None:
        """Nothing attends across the batch, whatever domains are in it."""
        asked, (ids, mask) = network(family), tiny_prompts(4, 9)
        domain = torch.tensor([0, 1, 0, -1])
        with torch.no_grad():
            together = asked(ids, mask, domain)
            alone = [asked(ids[row : row + 1], mask[row : row + 1], domain[row : row + 1]) for row in range(4)]
        torch.testing.assert_close(torch.cat([one.own for one in alone]), together.own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.cat([one.general for one in alone]), together.general, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("kind", [kind for kind in get_args(LadderKind) if kind != "none"])
    def test_ladders_do_not_attend_across_the_batch(self, kind: LadderKind) -> None:
        """Other prompts leave a prompt's ladder as it is."""
        ladders = LadderStack(kind, WIDTH, POINTS, dropout=0.0).eval()
        states, mask = torch.randn(3, POINTS, 5, WIDTH), torch.ones(3, 5)
        other = torch.cat([states[:1], torch.randn(2, POINTS, 5, WIDTH)])
        torch.testing.assert_close(ladders(other, mask)[0], ladders(states, mask)[0])


class TestDomains:
    """Which network answers for whom."""

    def test_each_prompt_is_scored_by_its_domains_network(self) -> None:
        """In a mixed batch, too; an unknown domain gets the general network's logit."""
        asked, (ids, mask) = network(), tiny_prompts(5, 9)
        domain = torch.tensor([2, -1, 0, 1, 2])
        states = asked.hidden(ids, mask)
        logits = asked.logits(states, mask, domain)
        names = ["gifts", "general", "fashion", "music", "gifts"]
        wanted = torch.stack([asked.head(name, states, mask)[row] for row, name in enumerate(names)])
        torch.testing.assert_close(logits.own, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits.general, asked.head("general", states, mask))
        assert len(set(logits.own.tolist())) == 5

    @pytest.mark.parametrize("domain", [-2, 3])
    def test_a_domain_out_of_range_is_refused(self, domain: int) -> None:
        """It is not taken for an unknown one."""
        with pytest.raises(ValueError, match="domain: must be -1 to 2"):
            network()(*tiny_prompts(1, 4), torch.tensor([domain]))

    def test_without_a_general_network_an_unknown_domain_is_refused(self) -> None:
        """Known ones are scored, with no general logits."""
        asked = network(config=UniCtrConfig(tower=(8,), general=False))
        assert asked(*tiny_prompts(2, 4), torch.tensor([0, 1])).general is None
        with pytest.raises(ValueError, match="needs the general network"):
            asked(*tiny_prompts(2, 4), torch.tensor([0, -1]))
        with pytest.raises(ValueError, match="must be one of fashion, music, gifts, is 'general'"):
            asked.network("general")

    @pytest.mark.parametrize("name", ["general", "Fashion", "a.b", "", "../x", "a" * 64])
    def test_a_name_that_cannot_be_a_file_of_its_own_is_refused(self, name: str) -> None:
        """By the constructor as by add_domain."""
        with pytest.raises(ValueError, match="domain: must be lower-case"):
            UniCtr(IdNetwork(TOKENS, WIDTH), SMALL, [name])
        with pytest.raises(ValueError, match="domain: must be lower-case"):
            on_ids().add_domain(name)

    def test_names_of_a_modules_own_methods_are_domains_like_others(self) -> None:
        """Nobody knows that a container has such."""
        assert UniCtr(IdNetwork(TOKENS, WIDTH), SMALL, ["items", "pop", "keys"]).domains == ("items", "pop", "keys")


class TestLoss:
    """L = L_D + L_G, with the domain's mask."""

    def test_it_is_the_sum_of_both_cross_entropies(self) -> None:
        """A prompt of an unknown domain counts for the general network alone, once."""
        asked, (ids, mask) = network(), tiny_prompts(4, 9)
        domain, labels = torch.tensor([0, -1, 2, 2]), torch.tensor([1, 0, 0, 1])
        logits = asked(ids, mask, domain)
        own, general = torch.sigmoid(logits.own), torch.sigmoid(logits.general)
        each_own = torch.where(labels == 1, own, 1 - own).log().neg()
        each_general = torch.where(labels == 1, general, 1 - general).log().neg()
        wanted = each_own[domain >= 0].mean() + each_general.mean()
        torch.testing.assert_close(asked.loss(logits, labels, domain), wanted)

    @pytest.mark.parametrize("low_rank", [None, LowRank(rank=2)])
    @pytest.mark.parametrize("domain", [[1, 1, 1], [0, 1, 0], [-1, -1, 1]])
    def test_no_gradient_reaches_another_domains_network(self, domain: list[int], low_rank: LowRank | None) -> None:
        """In pure and mixed batches; the language model and the general network learn from all."""
        asked = network(low_rank=low_rank).train()
        ids, mask = tiny_prompts(3, 9)
        places = torch.tensor(domain)
        asked.loss(asked(ids, mask, places), torch.tensor([1, 0, 1]), places).backward()
        for place, name in enumerate(DOMAINS):
            assert (gradients(asked.network(name)) > 0) == (place in domain)
        assert gradients(asked.network("general")) > 0
        assert gradients(asked.language_model) > 0

    def test_a_domains_network_learns_the_same_in_a_mixed_batch(self) -> None:
        """Its gradient is that of its own prompts, whatever the others are."""
        asked, (ids, mask) = network(), tiny_prompts(4, 9)
        domain, labels = torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 0, 1])
        found = []
        for others in (ids, torch.where((domain == 1).unsqueeze(1), ids.flip(1) % TOKENS, ids)):
            asked.zero_grad()
            asked.loss(asked(others, torch.ones_like(mask), domain), labels, domain).backward()
            found.append([p.grad.clone() for p in asked.network("fashion").parameters()])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


class TestAddedAndRemoved:
    """Domains come and go without a trace in the others."""

    def test_only_the_added_domain_learns(self) -> None:
        """All else is the same bit for bit after steps with weight decay, and dropout is off in it."""
        asked = network(low_rank=LowRank(rank=2)).train()
        before = copy.deepcopy(asked.state_dict())
        asked.add_domain("beauty")
        first = copy.deepcopy(asked.network("beauty").state_dict())
        optimizer = torch.optim.AdamW([p for p in asked.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
        ids, mask = tiny_prompts(4, 9)
        domain = torch.full((4,), asked.domains.index("beauty"))
        for _ in range(3):
            optimizer.zero_grad()
            asked.loss(asked(ids, mask, domain), torch.tensor([1, 0, 0, 1]), domain).backward()
            optimizer.step()
        after = asked.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert all(not torch.equal(asked.network("beauty").state_dict()[name], first[name]) for name in first)
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert trained == {id(p) for p in asked.network("beauty").parameters()}
        assert asked.network("beauty").training
        assert not any(part.training for part in (asked.language_model, asked.general, asked.network("music")))

    def test_adding_leaves_the_others_outputs_as_they_are(self) -> None:
        """Bit for bit."""
        asked, (ids, mask) = network(), tiny_prompts(4, 9)
        domain = torch.tensor([0, 1, 2, -1])
        before = asked(ids, mask, domain)
        asked.add_domain("beauty")
        after = asked(ids, mask, domain)
        assert torch.equal(after.own, before.own)
        assert torch.equal(after.general, before.general)

    def test_removing_leaves_the_others_outputs_as_they_are(self) -> None:
        """Bit for bit; later domains move up a place, and the name is free again."""
        asked, (ids, mask) = network(), tiny_prompts(3, 9)
        before = asked(ids, mask, torch.tensor([0, 2, -1]))
        asked.remove_domain("music")
        after = asked(ids, mask, torch.tensor([0, 1, -1]))
        assert asked.domains == ("fashion", "gifts")
        assert torch.equal(after.own, before.own)
        assert torch.equal(after.general, before.general)
        asked.add_domain("music")
        assert asked.domains == ("fashion", "gifts", "music")

    def test_what_cannot_be_added_or_removed_is_refused(self) -> None:
        """With the names that there are."""
        asked = on_ids()
        with pytest.raises(ValueError, match="'music' is there already"):
            asked.add_domain("music")
        with pytest.raises(ValueError, match="must be one of fashion, music, gifts, general, is 'beauty'"):
            asked.remove_domain("beauty")
        with pytest.raises(ValueError, match="cannot be removed"):
            asked.remove_domain("general")


class TestParts:
    """What the ablations leave out."""

    @pytest.mark.parametrize("kind", get_args(LadderKind))
    def test_every_kind_of_ladder_learns(self, kind: LadderKind) -> None:
        """None has no ladder's weights, and its gate reads h_L alone."""
        module = DomainNetwork(UniCtrConfig(ladder=kind, tower=(8,)), WIDTH, POINTS)
        states, mask = torch.randn(3, POINTS, 5, WIDTH), torch.ones(3, 5)
        module(states, mask).sum().backward()
        assert gradients(module) > 0
        assert module.gate.key.in_features == (WIDTH if kind == "none" else 2 * WIDTH)
        assert (module.ladders is None) == (kind == "none")

    def test_each_ladder_reads_its_layer_and_the_ladder_before(self) -> None:
        """lad_f = L_f(h_f + lad_(f-1)): every layer's states have a gradient."""
        ladders = LadderStack("transformer", WIDTH, 3, dropout=0.0)
        states = torch.randn(2, 3, 5, WIDTH, requires_grad=True)
        torch.autograd.backward(ladders(states, torch.ones(2, 5)).square().sum())
        assert (states.grad.abs().sum(dim=(0, 2, 3)) > 0).all()
        wanted = torch.zeros(2, 5, WIDTH)
        for point, rung in enumerate(ladders.rungs):
            wanted = rung(states[:, point] + wanted, torch.ones(2, 5))
        torch.testing.assert_close(ladders(states, torch.ones(2, 5)), wanted)

    def test_the_network_on_ids_tells_a_candidate_from_the_history(self) -> None:
        """Places are counted from the end, so the same ids in another order are another prompt."""
        asked, mask = on_ids(), torch.ones(1, 4, dtype=torch.long)
        one, other = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 8, 7]])
        domain = torch.tensor([0])
        assert asked(one, mask, domain).own != asked(other, mask, domain).own
