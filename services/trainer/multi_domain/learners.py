"""Networks of several domains behind one face: what they lose on a batch, and what each of their heads scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from services.ctr.knowledge_augmented import hide_ids
from services.ctr.multi_domain import MULTI_DOMAIN
from services.ctr.uni_ctr.network import GENERAL, UNKNOWN_DOMAIN, UniCtr
from services.ctr.uni_ctr.prompts import PromptFormat
from services.model_registry import UNKNOWN
from services.trainer.data.samples import Samples
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.features import Features, labels
from services.trainer.multi_domain.token_table import TokenTable

Indices = npt.NDArray[np.int64]
OWN = ""  # the head of each sample's own domain
SCORED_ROWS = 2048
SCORED_PROMPTS = 64


class Learner(Protocol):
    """A network that is trained on samples of several domains.

    `heads` are names that may score samples of any domain: domains, and `general` where there is such a network.
    """

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Who can score any sample."""

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters that are trained, in two groups: all others, and the language model's."""

    def batches(self, samples: Samples, size: int, random: np.random.Generator | None) -> list[Indices]:
        """All samples' places in batches; shuffled with a generator, else in an order of the learner's choice."""

    def loss(self, samples: Samples, chosen: Indices) -> Tensor:
        """The loss (nats) of a batch, a mean over its samples."""

    def logits(self, samples: Samples, chosen: Indices, head: str = OWN) -> Tensor:
        """Logits (B,) by a head."""


@dataclass
class FeatureLearner:
    """A baseline on categorical features; of a single-domain network all heads are one."""

    network: nn.Module
    features: Features
    domains: tuple[str, ...]
    device: torch.device
    id_dropout: float = 0.0

    @property
    def heads(self) -> tuple[str, ...]:
        """Its domains."""
        return self.domains

    def groups(self) -> list[list[nn.Parameter]]:
        """All are of the first kind."""
        return [[parameter for parameter in self.network.parameters() if parameter.requires_grad], []]

    def batches(self, samples: Samples, size: int, random: np.random.Generator | None) -> list[Indices]:
        """Batches of any samples."""
        return batches_of_any(len(samples), size, random)

    def loss(self, samples: Samples, chosen: Indices) -> Tensor:
        """Cross entropy of each sample's own head."""
        logits = self.logits(samples, chosen)
        return binary_cross_entropy_with_logits(logits, labels(samples, chosen, self.device))

    def logits(self, samples: Samples, chosen: Indices, head: str = OWN) -> Tensor:
        """Logits (B,)."""
        batch = self.features.batch(samples, chosen, self.device)
        if self.network.training:
            batch = batch._replace(item_id=hide_ids(batch.item_id, self.id_dropout, UNKNOWN))
        if not isinstance(self.network, tuple(MULTI_DOMAIN.values())):  # type: ignore[arg-type]
            scored: Tensor = self.network(batch)
        else:
            scored = self.network(batch, self._domain(samples, chosen, head))
        return scored.squeeze(-1)

    def _domain(self, samples: Samples, chosen: Indices, head: str) -> Tensor:
        if head != OWN:
            return torch.full((len(chosen),), self.domains.index(head), device=self.device)
        return domain_places(self.features.data, self.domains, samples.row[chosen], self.device)


@dataclass
class PromptLearner:
    """Uni-CTR on prompts, in batches of similar length."""

    network: UniCtr
    table: TokenTable
    data: DomainData
    device: torch.device
    form: PromptFormat
    tokenizer: Tokenizer
    origin: str

    @property
    def heads(self) -> tuple[str, ...]:
        """The general network first, where there is one."""
        return (*([GENERAL] if self.network.general is not None else []), *self.network.domains)

    def groups(self) -> list[list[nn.Parameter]]:
        """The networks of domains, and the language model."""
        of_model = {id(parameter) for parameter in self.network.language_model.parameters()}
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return [[p for p in trained if (id(p) in of_model) == inside] for inside in (False, True)]

    def batches(self, samples: Samples, size: int, random: np.random.Generator | None) -> list[Indices]:
        """Batches of prompts of similar length: padding costs as much as words."""
        length = self.table.length(samples.row)
        if random is None:
            return _cut(np.argsort(-length, kind="stable"), SCORED_PROMPTS)
        order = random.permutation(len(samples))
        pools = _cut(order, size * 16)
        found = [batch for pool in pools for batch in _cut(pool[np.argsort(length[pool], kind="stable")], size)]
        return [found[place] for place in random.permutation(len(found))]

    def loss(self, samples: Samples, chosen: Indices) -> Tensor:
        """L_D + L_G."""
        domain = self._domain(samples, chosen)
        ids, mask = self.table.batch(samples.row[chosen], self.device)
        return self.network.loss(self.network(ids, mask, domain), labels(samples, chosen, self.device), domain)

    def logits(self, samples: Samples, chosen: Indices, head: str = OWN) -> Tensor:
        """Logits (B,); a domain without a network goes to the general one."""
        ids, mask = self.table.batch(samples.row[chosen], self.device)
        if head != OWN:
            return self.network.head(head, self.network.hidden(ids, mask), mask)
        own: Tensor = self.network(ids, mask, self._domain(samples, chosen)).own
        return own

    def _domain(self, samples: Samples, chosen: Indices) -> Tensor:
        return domain_places(self.data, self.network.domains, samples.row[chosen], self.device)


def scores(learner: Learner, samples: Samples, head: str = OWN) -> npt.NDArray[np.float64]:
    """(N,) logits of all samples by a head."""
    learner.network.eval()
    found = np.empty(len(samples))
    with torch.inference_mode():
        for chosen in learner.batches(samples, 0, None):
            found[chosen] = learner.logits(samples, chosen, head).float().cpu().numpy()
    return found


def batches_of_any(count: int, size: int, random: np.random.Generator | None) -> list[Indices]:
    """Places of all samples in batches, shuffled with a generator."""
    order = np.arange(count) if random is None else random.permutation(count)
    return _cut(order, size if random else SCORED_ROWS)


def domain_places(data: DomainData, own: Sequence[str], rows: Indices, device: torch.device) -> Tensor:
    """(B,) int64: the place of each log row's domain among a network's own, or UNKNOWN_DOMAIN."""
    place = np.array([own.index(name) if name in own else UNKNOWN_DOMAIN for name in data.domains])
    return torch.from_numpy(place[data.domain[rows]]).to(device)


def _cut(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]
