"""Random language models of two layers, one for each family, and a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
)

TOKENS = 60
LAYERS = 2
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZES = {
    "vocab_size": TOKENS,
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,  # far from zero, so that a lost mask is seen
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "share_att_key": True}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "deberta-v2": DebertaV2Config(**SIZES, **RELATIVE, norm_rel_ebd="layer_norm"),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=1),
}
CLASSES: dict[str, type[PreTrainedModel]] = {"bert": BertModel, "deberta-v2": DebertaV2Model, "llama": LlamaModel}


def tiny_language_model(family: str, seed: int = 0) -> PreTrainedModel:
    """bert, deberta-v2 or llama, in evaluation mode; without a pooler, whose output nobody reads."""
    torch.manual_seed(seed)
    model = CLASSES[family](CONFIGS[family]).eval()
    if family == "bert":
        model.pooler = None
    return model


def tiny_prompts(rows: int, tokens: int, shortest: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and mask (rows, tokens); the first row is full, the others may be shorter."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, tokens + 1, (rows, 1), generator=random)
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths).long()
    return torch.randint(4, TOKENS, (rows, tokens), generator=random) * mask, mask


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """One token a word or mark, between [CLS] and [SEP]; ids 0 to 3 are special."""
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
