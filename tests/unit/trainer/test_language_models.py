"""Language models by name, and what is said when one cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, T5Config, T5Model

from services.trainer.multi_domain.pretrained_models import LanguageModelUnavailable, load_language_model
from tests.tiny_language_models import CONFIGS, tiny_language_model, tiny_prompts, word_tokenizer


def saved(family: str, folder: Path) -> Path:
    """A folder as `save_pretrained` leaves it, with a tokenizer of at most 40 tokens."""
    tiny_language_model(family).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(["strings"]), model_max_length=40, pad_token="[PAD]", unk_token="[UNK]"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_folder_of_any_family_is_loaded_with_its_tokenizer(family: str, tmp_path: Path) -> None:
    """The weights are those that were saved."""
    loaded = load_language_model(str(saved(family, tmp_path)))
    ids, mask = tiny_prompts(2, 7)
    wanted = tiny_language_model(family)(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(loaded.model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state, wanted)
    assert loaded.tokenizer.encode("strings").ids == word_tokenizer(["strings"]).encode("strings").ids
    assert loaded.longest_tokens == 40
    assert getattr(loaded.model, "pooler", None) is None


def test_the_default_is_bundled_and_needs_no_hub() -> None:
    """Six layers of 384."""
    model = load_language_model().model
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 384)


def test_random_weights_are_had_when_asked_for(tmp_path: Path) -> None:
    """The architecture is the same."""
    folder = saved("bert", tmp_path)
    plain, random = load_language_model(str(folder)).model, load_language_model(str(folder), pretrained=False).model
    assert plain.config.to_dict().keys() == random.config.to_dict().keys()
    assert not torch.equal(plain.embeddings.word_embeddings.weight, random.embeddings.word_embeddings.weight)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what was expected."""
    with pytest.raises(
        LanguageModelUnavailable, match=r"taken for a local folder: .* neither config\.json nor one GGUF"
    ):
        load_language_model(str(tmp_path))


def test_a_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    """They would be random, and nobody would know."""
    file = saved("bert", tmp_path) / "model.safetensors"
    weights = load_file(file)
    save_file({name: value for name, value in weights.items() if "layer.1" not in name}, file, {"format": "pt"})
    with pytest.raises(LanguageModelUnavailable, match=r"the files lack weights, such as encoder\.layer\.1"):
        load_language_model(str(tmp_path))


def test_a_folder_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    """With what transformers says of it."""
    config = saved("bert", tmp_path) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "no-such"}), encoding="utf-8")
    with pytest.raises(LanguageModelUnavailable, match="no-such"):
        load_language_model(str(tmp_path))


def test_a_model_of_encoder_and_decoder_is_refused(tmp_path: Path) -> None:
    """It has two rows of layers."""
    saved("bert", tmp_path)
    config = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(LanguageModelUnavailable, match="expected an encoder or a decoder, is both"):
        load_language_model(str(tmp_path))


def test_a_name_that_the_hub_cannot_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hub, too."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LanguageModelUnavailable, match="'nobody/no-such-model', taken for one of the hub"):
        load_language_model("nobody/no-such-model")
