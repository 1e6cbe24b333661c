"""Reads a user once for many candidates: a decoder's keys and values of what all prompts begin with are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from services.ctr.uni_ctr.language_model import LanguageModel


def hidden_after_prefix(
    language_model: LanguageModel, input_ids: Tensor, attention_mask: Tensor, user_tokens: int
) -> Tensor:
    """States (B, F, T, D) as of `language_model` itself, for B prompts (B, T) whose first `user_tokens` are equal.

    The common tokens are computed for one row, the others after them; so for P common tokens of T the cost falls from
    B T to P + B (T - P) tokens. It needs a decoder, whose tokens see only what came before, and prompts that say the
    user before the candidate, encoded with `same_user`. An encoder reads both ways: there nothing can be kept.
    Raises ValueError for an encoder, and for prompts that do not begin alike or end with the prefix.
    """
    _check(language_model, input_ids, attention_mask, user_tokens)
    rows, length = input_ids.shape
    prefix = language_model.model(input_ids=input_ids[:1, :user_tokens], use_cache=True, output_hidden_states=True)
    prefix.past_key_values.batch_repeat_interleave(rows)
    rest = language_model.model(
        input_ids=input_ids[:, user_tokens:],
        attention_mask=attention_mask,
        position_ids=torch.arange(user_tokens, length, device=input_ids.device).unsqueeze(0),
        past_key_values=prefix.past_key_values,
        use_cache=True,
        output_hidden_states=True,
    )
    pairs = zip(prefix.hidden_states, rest.hidden_states, strict=True)
    joined = [torch.cat([common.expand(rows, -1, -1), own], dim=1) for common, own in pairs]
    return language_model.at_points(joined, attention_mask)


def _check(language_model: LanguageModel, input_ids: Tensor, attention_mask: Tensor, user_tokens: int) -> None:
    if not language_model.reads_forward_only:
        raise ValueError("language_model: an encoder reads both ways, so a prefix depends on what follows it")
    if not 1 <= user_tokens < input_ids.shape[1]:
        raise ValueError(f"user_tokens: must be 1 to {input_ids.shape[1] - 1}, is {user_tokens}")
    common = input_ids[:, :user_tokens]
    if not (common == common[:1]).all() or not attention_mask[:, :user_tokens].all():
        raise ValueError("input_ids: must begin alike; encode the prompts with same_user")
