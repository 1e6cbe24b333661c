"""A text encoder of the usual kind that costs next to nothing, for tests in which thousands of texts flow."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

WORDS = ("[PAD]", "[UNK]", "a", "film", "of", "sea")
WIDTH = 16  # of its vectors
MOST_TOKENS = 16


def save_small_encoder(folder: Path) -> Path:
    """A DistilBERT with random weights, always the same ones: unlike BERT it takes no token types. Returns `folder`."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.model_max_length = MOST_TOKENS
    fast.save_pretrained(folder)
    sizes = {"vocab_size": len(WORDS), "dim": WIDTH, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        DistilBertModel(DistilBertConfig(**sizes, max_position_embeddings=32)).save_pretrained(folder)
    return folder
