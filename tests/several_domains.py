"""Small domains whose titles tell the labels, and a random language model that knows their words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from services.trainer.data.datasets import DATASETS, DatasetSource, MultiDomainDataset
from tests.tiny_language_models import SPECIAL, word_tokenizer

USERS, ITEMS, START, STEP = 40, 30, 1_400_000_000, 100
MOODS = ("sunny", "rainy")
WORDS = (
    "Scenario User liked oldest first Candidate product title brand category price unknown nothing yet Maker Lamp Song "
    'Tool Book artist genre author year " , ; : . - 4 8 16 u i music retail books apps'
)


def write_domains(folder: Path, domains: Sequence[str], interactions: int = 320) -> Path:
    """interactions.csv and items.csv of these domains: of an item whose title is sunny 9 of 10 ratings are good.

    Users are shared by all domains. The last item of each domain has no title.
    """
    random, rows, items = np.random.default_rng(5), [], []
    for domain in domains:
        for number in range(ITEMS):
            title = "" if number == ITEMS - 1 else f"{MOODS[number % 2]} Lamp {number}"
            items.append((domain, _item(domain, number), title, "Maker", 4.5 + number, "All > Lamp", ""))
        for n in range(interactions):
            number = int(random.integers(ITEMS))
            good = (number % 2 == 0) == (random.random() < 0.9)
            rating = random.choice([4, 5] if good else [1, 2, 3])
            user = int(random.integers(USERS))
            rows.append((domain, f"u{user}", _item(domain, number), rating, START + STEP * n))
    _write(items, ["domain", "item_id", "title", "brand", "price", "category", "description"], folder / "items.csv")
    _write(rows, ["domain", "user_id", "item_id", "rating", "timestamp"], folder / "interactions.csv")
    return folder


def read_domains(folder: Path) -> MultiDomainDataset:
    """The dataset of a folder."""
    dataset = DATASETS["multi-domain"](DatasetSource((folder,)))
    assert isinstance(dataset, MultiDomainDataset)
    return dataset


def write_language_model(folder: Path, width: int = 32) -> Path:
    """A random BERT of two layers with its tokenizer, as `save_pretrained` leaves them."""
    words = [*WORDS.split(), *MOODS, *map(str, range(ITEMS)), *[f"u{n}" for n in range(USERS)]]
    tokenizer = word_tokenizer(words)
    sizes = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(folder)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder)
    return folder


def _item(domain: str, number: int) -> str:
    return f"{domain}-{number}"


def _write(rows: list[tuple[object, ...]], columns: list[str], path: Path) -> None:
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
