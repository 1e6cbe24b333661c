"""The language model that a config names, tuned as it says; or what stands in for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, models, pre_tokenizers

from services.ctr.uni_ctr.id_network import IdNetwork
from services.ctr.uni_ctr.language_model import LanguageModel, LowRank
from services.trainer.multi_domain.config import NO_LANGUAGE_MODEL, MultiDomainConfig
from services.trainer.multi_domain.pretrained_models import (
    LanguageModelUnavailable,
    PretrainedLanguageModel,
    load_language_model,
)
from services.trainer.training.config import InvalidConfig

PADDING_TOKEN, UNKNOWN_TOKEN = "[PAD]", "[UNK]"


@dataclass(frozen=True)
class Backbone:
    """A network from tokens to states, its tokenizer, and in words what its first weights were."""

    network: LanguageModel | IdNetwork
    tokenizer: Tokenizer
    origin: str


def build_backbone(config: MultiDomainConfig, texts: Iterable[str]) -> Backbone:
    """The backbone that a config names; one without a language model knows the words of `texts`.

    Raises InvalidConfig.
    """
    if config.language_model == NO_LANGUAGE_MODEL:
        tokenizer = word_tokenizer(texts)
        network = IdNetwork(tokenizer.get_vocab_size(), config.embedding_width, longest=config.max_tokens)
        return Backbone(network, tokenizer, "ids, no language model")
    try:
        loaded = load_language_model(config.language_model, config.initial_weights == "pretrained")
        return Backbone(_tuned(loaded, config), loaded.tokenizer, f"{config.initial_weights} weights")
    except (LanguageModelUnavailable, ValueError) as error:
        raise InvalidConfig(f"language_model: {error}") from error


def word_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token a word, for prompts of ids: words that are not in `texts` are unknown."""
    words = dict.fromkeys([PADDING_TOKEN, UNKNOWN_TOKEN, *(word for text in texts for word in text.split())])
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def _tuned(loaded: PretrainedLanguageModel, config: MultiDomainConfig) -> LanguageModel:
    if config.max_tokens > loaded.longest_tokens:
        raise ValueError(
            f"{loaded.name} takes {loaded.longest_tokens} tokens at most; max_tokens is {config.max_tokens}"
        )
    low_rank = LowRank(config.low_rank, config.low_rank_alpha) if config.tuning == "low-rank" else None
    network = LanguageModel(loaded.model, config.ladder_every, low_rank)
    if config.tuning == "frozen":
        network.requires_grad_(False)
    return network
