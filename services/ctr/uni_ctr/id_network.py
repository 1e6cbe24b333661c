"""What stands in for the language model in the ablation without one: a deep network on ids."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from services.ctr.layers import MLP, initialise, masked_mean
from services.ctr.uni_ctr.language_model import ladder_points


class IdNetwork(nn.Module):
    """Embeds tokens, and layer by layer joins each with the mean of all: no pre-training, no attention.

    Meant for prompts of the mode `id-only` with a tokenizer of one token an id. A token's place is counted from the
    end, so the candidate and each history entry by its age have places of their own. Has the face of LanguageModel.
    """

    def __init__(
        self, token_count: int, width: int = 32, layers: int = 2, ladder_every: int = 1, longest: int = 512
    ) -> None:
        super().__init__()
        self.width, self.points = width, ladder_points(layers, ladder_every)
        self.token, self.place = nn.Embedding(token_count, width), nn.Embedding(longest, width)
        self.layers = nn.ModuleList(MLP([2 * width, width]) for _ in range(layers))
        initialise(self)

    @property
    def token_count(self) -> int:
        """Size of the vocabulary; ids are below it."""
        return self.token.num_embeddings

    def merged(self) -> IdNetwork:
        """A copy."""
        return copy.deepcopy(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States (B, F, T, D) of `input_ids` (B, T) int64 where `attention_mask` (B, T) int64 is 1."""
        places = (attention_mask.flip(1).cumsum(1).flip(1) - 1).clamp(min=0)  # (B, T), 0 = the last real token
        values = self.token(input_ids) + self.place(places)  # (B, T, D)
        mask, states = attention_mask.to(values.dtype), [values]
        for layer in self.layers:
            mean = masked_mean(values, mask).unsqueeze(1).expand_as(values)
            values = values + layer(torch.cat([values, mean], dim=-1))
            states.append(values)
        chosen = torch.stack([states[point] for point in self.points], dim=1)
        return chosen * mask[:, None, :, None]
