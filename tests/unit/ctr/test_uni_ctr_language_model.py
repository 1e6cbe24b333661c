"""The language model under Uni-CTR: ladder points, LoRA, and the user's part read once."""

from __future__ import annotations

import pytest
import torch

from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel, LowRank, ladder_points
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.prefix import hidden_after_prefix
from services.ctr.uni_ctr.prompt_encoder import PromptEncoder
from services.ctr.uni_ctr.prompts import PromptItem, Prompts
from tests.tiny_language_models import CONFIGS, tiny_language_model, tiny_prompts, word_tokenizer

FAMILIES = sorted(CONFIGS)
WORDS = "Scenario : music . User u1 liked , oldest first Candidate product title strings guitar one two"


def candidates(user_tokens: int = 5, rows: int = 6, tokens: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = tiny_prompts(rows, tokens, shortest=user_tokens + 1)
    ids[:, :user_tokens] = ids[0, :user_tokens]
    return ids, mask


class TestLadderPoints:
    """Where ladders read."""

    @pytest.mark.parametrize(
        ("layers", "every", "points"),
        [(24, 6, (6, 12, 18, 24)), (6, 2, (2, 4, 6)), (7, 3, (3, 6, 7)), (5, 5, (5,)), (2, 1, (1, 2))],
    )
    def test_every_so_many_layers_and_always_the_last(self, layers: int, every: int, points: tuple[int, ...]) -> None:
        """h_L is what gate and towers read."""
        assert ladder_points(layers, every) == points

    @pytest.mark.parametrize("every", [0, 3, -1])
    def test_a_step_without_a_layer_is_refused(self, every: int) -> None:
        """By the model, with its number of layers."""
        with pytest.raises(ValueError, match="ladder_every: must be 1 to 2"):
            LanguageModel(tiny_language_model("bert"), every)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_states_are_the_models_own(self, family: str) -> None:
        """After each layer, and at the end what the model itself gives."""
        model, (ids, mask) = tiny_language_model(family), tiny_prompts(2, 7)
        ids, mask = ids[:1], mask[:1]
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states = LanguageModel(model, 1)(ids, mask)
        torch.testing.assert_close(states[:, 0], output.hidden_states[1])
        torch.testing.assert_close(states[:, 1], output.last_hidden_state)


class TestLowRank:
    """LoRA against training all weights."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_it_trains_few_weights_and_begins_as_the_model(self, family: str) -> None:
        """Without LoRA all weights learn."""
        plain = LanguageModel(tiny_language_model(family), 1)
        low = LanguageModel(tiny_language_model(family), 1, LowRank(rank=2)).eval()
        assert all(parameter.requires_grad for parameter in plain.parameters())
        trained = [name for name, parameter in low.named_parameters() if parameter.requires_grad]
        assert trained
        assert all("lora_" in name for name in trained)
        torch.testing.assert_close(low(*tiny_prompts(2, 7)), plain(*tiny_prompts(2, 7)))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_only_its_weights_move_and_merged_it_computes_the_same(self, family: str) -> None:
        """The merged copy has no weights beside the model's; what is trained on is left as it is."""
        low = LanguageModel(tiny_language_model(family), 1, LowRank(rank=2))
        before = {name: value.clone() for name, value in low.state_dict().items()}
        optimizer = torch.optim.AdamW([p for p in low.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            low(*tiny_prompts(2, 7)).square().mean().backward()
            optimizer.step()
        moved = {name for name, value in low.state_dict().items() if not torch.equal(value, before[name])}
        assert moved == {name for name in before if "lora_" in name}
        low.eval()
        merged = low.merged()
        assert not any("lora_" in name for name in merged.state_dict())
        torch.testing.assert_close(merged(*tiny_prompts(2, 7)), low(*tiny_prompts(2, 7)), atol=1e-5, rtol=1e-4)
        assert any("lora_" in name for name in low.state_dict())

    def test_layers_that_the_model_lacks_are_refused(self) -> None:
        """Named for the setting."""
        with pytest.raises(ValueError, match="low_rank: bert does not take it"):
            LanguageModel(tiny_language_model("bert"), 1, LowRank(targets=("q_proj",)))


class TestPrefix:
    """A user's part, read once for all candidates."""

    def test_decoders_are_told_from_encoders(self) -> None:
        """By what a later token changes."""
        found = {family: LanguageModel(tiny_language_model(family), 1).reads_forward_only for family in FAMILIES}
        assert found == {"bert": False, "deberta-v2": False, "llama": True}

    @pytest.mark.parametrize("low_rank", [None, LowRank(rank=2)])
    def test_the_logits_are_those_of_the_whole_computation(self, low_rank: LowRank | None) -> None:
        """For candidates of different lengths, by own and general network."""
        network = UniCtr(LanguageModel(tiny_language_model("llama"), 1, low_rank), UniCtrConfig(tower=(8,)), ["music"])
        ids, mask = candidates()
        domain = torch.zeros(len(ids), dtype=torch.long)
        with torch.no_grad():
            whole = network.eval()(ids, mask, domain)
            reused = network.logits(hidden_after_prefix(network.language_model, ids, mask, 5), mask, domain)
        torch.testing.assert_close(reused.own, whole.own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reused.general, whole.general, atol=1e-5, rtol=1e-5)
        assert len(set(whole.own.tolist())) == len(ids)

    def test_the_common_tokens_are_read_for_one_row_alone(self) -> None:
        """The model sees 5 tokens of one row, then 7 of six."""
        language_model, seen = LanguageModel(tiny_language_model("llama"), 1).eval(), []
        assert language_model.reads_forward_only
        language_model.model.embed_tokens.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
        hidden_after_prefix(language_model, *candidates(), 5)
        assert seen == [(1, 5), (6, 7)]

    def test_prompts_of_one_user_can_be_reused_as_they_are_encoded(self) -> None:
        """The user stands before the candidate, and `user_tokens` says where it ends."""
        items = [PromptItem(word, word) for word in ("one", "two", "strings")]
        prompts = [Prompts("music").parts("u1", items[:2], item) for item in items]
        encoded = PromptEncoder(word_tokenizer(WORDS.split()), 40).encode(prompts, same_user=True)
        ids, mask = torch.from_numpy(encoded.input_ids), torch.from_numpy(encoded.attention_mask)
        language_model = LanguageModel(tiny_language_model("llama"), 1).eval()
        states = hidden_after_prefix(language_model, ids, mask, int(encoded.user_tokens[0]))
        torch.testing.assert_close(states, language_model(ids, mask), atol=1e-5, rtol=1e-5)

    def test_an_encoder_is_refused(self) -> None:
        """It reads both ways."""
        with pytest.raises(ValueError, match="an encoder reads both ways"):
            hidden_after_prefix(LanguageModel(tiny_language_model("bert"), 1), *candidates(), 5)

    def test_prompts_that_do_not_begin_alike_are_refused(self) -> None:
        """As is a prefix that is the whole prompt."""
        language_model = LanguageModel(tiny_language_model("llama"), 1)
        with pytest.raises(ValueError, match="must begin alike"):
            hidden_after_prefix(language_model, *tiny_prompts(3, 8), 5)
        with pytest.raises(ValueError, match="user_tokens: must be 1 to 11, is 12"):
            hidden_after_prefix(language_model, *candidates(), 12)
