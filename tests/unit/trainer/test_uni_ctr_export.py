"""Uni-CTR's exported files against its network, and how a domain more or less changes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel, LowRank
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.prompt_encoder import PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem
from services.trainer.multi_domain.pretrained_models import load_language_model
from services.trainer.release.onnx_files import ExportMismatch, compare
from services.trainer.release.uni_ctr_export import export_network, export_uni_ctr
from tests.tiny_language_models import tiny_language_model, tiny_prompts, word_tokenizer

FORMAT = PromptFormat("full", 40, 5, ("brand",), {"fashion": "clothes"})
FILES = {"language_model.onnx", "network-fashion.onnx", "network-general.onnx"}
SLOW = pytest.mark.slow  # an export of a language model takes a quarter of a minute


def tiny(family: str) -> UniCtr:
    language_model = LanguageModel(tiny_language_model(family), 1, LowRank(rank=2, dropout=0.0))
    with torch.no_grad():
        for name, parameter in language_model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()  # it begins at zero, which would hide that LoRA was left out
    return UniCtr(language_model, UniCtrConfig(tower=(8, 4), gate_width=8), ["fashion"]).eval()


def exported_logits(folder: Path, name: str, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """As a server computes them: the language model's file, then the network's."""
    language_model = onnxruntime.InferenceSession(folder / "language_model.onnx")
    states = language_model.run(["states"], {"input_ids": ids, "attention_mask": mask})[0]
    network = onnxruntime.InferenceSession(folder / f"network-{name}.onnx")
    return network.run(["logits"], {"states": states, "attention_mask": mask})[0]


@pytest.mark.parametrize("family", ["bert", pytest.param("deberta-v2", marks=SLOW), pytest.param("llama", marks=SLOW)])
def test_the_files_compute_what_the_network_does(family: str, tmp_path: Path) -> None:
    """With LoRA merged, for any number and length of prompts; beside them stand tokenizer and prompts."""
    network, tokenizer = tiny(family), word_tokenizer(["strings"])
    hashes = export_uni_ctr(network, tokenizer, FORMAT, tmp_path)
    assert set(hashes) == {path.name for path in tmp_path.iterdir()} == FILES | {"tokenizer.json", "prompts.json"}
    for rows, tokens in ((1, 2), (1, 40), (9, 13)):
        ids, mask = tiny_prompts(rows, tokens)
        states = network.hidden(ids, mask)
        for name in ("fashion", "general"):
            wanted = network.head(name, states, mask).detach().numpy()
            np.testing.assert_allclose(exported_logits(tmp_path, name, ids.numpy(), mask.numpy()), wanted, atol=1e-4)
    assert PromptFormat.from_json((tmp_path / "prompts.json").read_text(encoding="utf-8")) == FORMAT
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).to_str() == tokenizer.to_str()


def test_a_domain_more_is_a_file_more(tmp_path: Path) -> None:
    """It computes what the new network does; a trained-on network goes on as it was."""
    network = tiny("bert").train()
    network.add_domain("beauty")
    assert set(export_network(network, "beauty", tmp_path, FORMAT.max_tokens)) == {"network-beauty.onnx"}
    assert [path.name for path in tmp_path.iterdir()] == ["network-beauty.onnx"]
    assert network.network("beauty").training
    ids, mask = tiny_prompts(3, 9)
    states = network.eval().hidden(ids, mask)
    wanted = network.head("beauty", states, mask).detach().numpy()
    session = onnxruntime.InferenceSession(tmp_path / "network-beauty.onnx")
    got = session.run(["logits"], {"states": states.detach().numpy(), "attention_mask": mask.numpy()})[0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_file_that_computes_something_else_is_refused() -> None:
    """Another shape, another number, or none."""
    wanted = torch.tensor([1.0, 2.0])
    compare("network-music.onnx", wanted, np.array([1.0, 2.0], dtype=np.float32))
    for got in ([1.0, 2.1], [1.0], [1.0, np.nan]):
        with pytest.raises(ExportMismatch, match=r"network-music\.onnx: differs"):
            compare("network-music.onnx", wanted, np.array(got, dtype=np.float32))


@SLOW
def test_the_default_language_model_goes_from_text_to_the_same_logits(tmp_path: Path) -> None:
    """MiniLM, real prompts, the tokenizer and prompts read from the files."""
    loaded = load_language_model()
    config = UniCtrConfig(tower=(32, 16))
    network = UniCtr(LanguageModel(loaded.model, 2), config, ["fashion"]).eval()
    export_uni_ctr(network, loaded.tokenizer, FORMAT, tmp_path)
    kept = PromptFormat.from_json((tmp_path / "prompts.json").read_text(encoding="utf-8"))
    encoder = PromptEncoder(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), kept.max_tokens)
    items = [PromptItem("1", "Red scarf", {"brand": "Acme"}), PromptItem("2", "Blue hat"), PromptItem("3", "Gloves")]
    encoded = encoder.encode([kept.prompts("fashion").parts("u1", items[:1], item) for item in items])
    ids, mask = torch.from_numpy(encoded.input_ids), torch.from_numpy(encoded.attention_mask)
    with torch.no_grad():
        wanted = network(ids, mask, torch.zeros(3, dtype=torch.long)).own.numpy()
    got = exported_logits(tmp_path, "fashion", encoded.input_ids, encoded.attention_mask)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert len(set(np.round(got, 5))) == 3
