"""Every sample's prompt as tokens, written and encoded once a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from loreline.domain import Item
from services.ctr.uni_ctr.prompt_encoder import PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem, PromptParts
from services.scenarios import load_scenario
from services.trainer.data.interaction_log import Indices
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.domain_data import NOBODY, DomainData

PAGE = 1024


@dataclass(frozen=True)
class TokenTable:
    """Token ids of log rows, one after the other; `begin` (R + 1,) says where a row's begin.

    Rows that no part has are empty. `history_cut` and `candidate_cut` are shares of the prompts.
    """

    tokens: npt.NDArray[np.int32]
    begin: Indices
    padding_id: int
    history_cut: float
    candidate_cut: float

    def length(self, rows: Indices) -> Indices:
        """(N,) how many tokens the prompts of rows (N,) have."""
        return self.begin[rows + 1] - self.begin[rows]

    def batch(self, rows: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
        """Input ids and attention mask (B, T) int64 of rows (B,), padded on the right."""
        length = self.length(rows)
        there = np.arange(length.max()) < length[:, None]
        ids = np.full(there.shape, self.padding_id, dtype=np.int64)
        ids[there] = np.concatenate([self.tokens[self.begin[row] : self.begin[row + 1]] for row in rows])
        return torch.from_numpy(ids).to(device), torch.from_numpy(there.astype(np.int64)).to(device)


def prompt_format(data: DomainData, config: MultiDomainConfig) -> PromptFormat:
    """How the prompts of a run are written: all fields that an item of its domains can have."""
    scenarios = dict.fromkeys(item.scenario for item in data.items)
    fields = dict.fromkeys(name for scenario in scenarios for name in load_scenario(scenario).field_names)
    texts = {name: domain_text(name) for name in data.trained}
    return PromptFormat(config.prompt_mode, config.max_tokens, config.history_length, tuple(fields), texts)


def domain_text(name: str) -> str:
    """A domain's name in words."""
    return name.replace("-", " ").replace("_", " ")


def prompt_item(item: Item) -> PromptItem:
    """What a prompt is told of an item: id, title, and the values of its scenario's fields."""
    scenario = load_scenario(item.scenario)
    return PromptItem(
        item.item_id, item.title, dict(zip(scenario.field_names, scenario.field_values(item), strict=True))
    )


def written(data: DomainData, form: PromptFormat, rows: Indices) -> Iterator[PromptParts]:
    """The prompts of log rows (N,), in their order."""
    log, items = data.log, [prompt_item(item) for item in data.items]
    prompts = [form.prompts(name) for name in data.domains]
    for row, past in zip(rows.tolist(), data.history(rows, form.history_length).tolist(), strict=True):
        history = [items[log.item[entry]] for entry in past if entry != NOBODY]
        user, candidate = data.user_ids[log.user[row]], items[log.item[row]]
        yield prompts[data.domain[row]].parts(user, history, candidate)


def token_table(data: DomainData, form: PromptFormat, tokenizer: Tokenizer) -> TokenTable:
    """The prompts of all samples as tokens. Raises ValueError when max_tokens has no room for a candidate's words."""
    split = data.split
    rows = np.unique(np.concatenate([split.training.row, split.validation.row, split.test.row]))
    encoder, pieces, length = PromptEncoder(tokenizer, form.max_tokens), [], np.zeros(len(data.domain), np.int64)
    history_cut, candidate_cut, encoded_rows = 0, 0, iter(np.array_split(rows, -(-len(rows) // PAGE)))
    for page in encoded_rows:
        encoded = encoder.encode(list(written(data, form, page)))
        length[page] = encoded.attention_mask.sum(axis=1)
        pieces.append(encoded.input_ids[encoded.attention_mask > 0].astype(np.int32))
        history_cut += int((encoded.history_cut > 0).sum())
        candidate_cut += int((encoded.candidate_cut > 0).sum())
    begin = np.concatenate([[0], np.cumsum(length)])
    shares = (history_cut / len(rows), candidate_cut / len(rows))
    return TokenTable(np.concatenate(pieces), begin, encoder.padding_id, *shares)
