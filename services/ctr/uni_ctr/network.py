"""Uni-CTR: a language model, a network for each domain over it, and a general one for all others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from services.ctr.uni_ctr.domain_network import DomainNetwork, GeneralNetwork, UniCtrConfig
from services.ctr.uni_ctr.id_network import IdNetwork
from services.ctr.uni_ctr.language_model import LanguageModel

GENERAL = "general"
UNKNOWN_DOMAIN = -1
DOMAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
Backbone = LanguageModel | IdNetwork


class UniCtrLogits(NamedTuple):
    """What B prompts are thought of: by their own domains' networks, and by the general one, None if there is none.

    `own` of an unknown domain is the general network's logit.
    """

    own: Tensor  # (B,)
    general: Tensor | None  # (B,)


class UniCtr(nn.Module):
    """arXiv 2312.10743: shared semantics from one language model, what is a domain's own from a network of its own.

    A prompt's domain is its place in `domains`, or -1 for unknown. A domain's network is only run on its own prompts,
    so nothing of it depends on, or learns from, another domain's. Raises ValueError for names that are no file names
    in lower case, come twice, or are "general".
    """

    def __init__(self, language_model: Backbone, config: UniCtrConfig, domains: Sequence[str]) -> None:
        super().__init__()
        self.config, self.language_model = config, language_model
        self.networks = nn.ModuleDict()
        self.domains: tuple[str, ...] = ()
        for name in domains:
            self._append(name)
        self.general = GeneralNetwork(config, language_model.width) if config.general else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, domain: Tensor) -> UniCtrLogits:
        """Logits of prompts (B, T) int64 with their mask (B, T) int64 and domains (B,) int64.

        Raises ValueError for a domain out of range, and for an unknown one where there is no general network.
        """
        return self.logits(self.hidden(input_ids, attention_mask), attention_mask, domain)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The language model's states (B, F, T, D), all that the networks read; padding's are zeros."""
        states: Tensor = self.language_model(input_ids, attention_mask)
        return states

    def logits(self, states: Tensor, attention_mask: Tensor, domain: Tensor) -> UniCtrLogits:
        """As forward, from states (B, F, T, D): those of prompts that come again need be computed once only."""
        present = torch.unique(domain).tolist()
        self._check(present)
        general = self.head(GENERAL, states, attention_mask) if self.general is not None else None
        own = torch.zeros(len(domain), dtype=states.dtype, device=states.device) if general is None else general
        for place in present:
            if place != UNKNOWN_DOMAIN:
                rows = (domain == place).nonzero().squeeze(-1)
                scored = self.head(self.domains[place], states[rows], attention_mask[rows])
                own = own.index_put((rows,), scored.to(own.dtype))
        return UniCtrLogits(own, general)

    def head(self, name: str, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B,) by the network of a domain, or the "general" one. Raises ValueError for a name without one."""
        logits: Tensor = self.network(name)(states, attention_mask)
        return logits

    def network(self, name: str) -> nn.Module:
        """The network of a domain, or the "general" one. Raises ValueError for a name without one."""
        if name == GENERAL and self.general is not None:
            return self.general
        if name not in self.domains:
            raise ValueError(f"domain: must be one of {', '.join(self._names())}, is {name!r}")
        return self.networks[_key(name)]

    def loss(self, logits: UniCtrLogits, labels: Tensor, domain: Tensor) -> Tensor:
        """L_D + L_G: binary cross-entropy in nats of labels (B,), each a mean over prompts (equations 17 to 23).

        L_D counts prompts of known domains alone, each by its own domain's network; L_G counts all.
        """
        known, target = (domain != UNKNOWN_DOMAIN).float(), labels.float()
        each = binary_cross_entropy_with_logits(logits.own.float(), target, reduction="none")
        own = (each * known).sum() / known.sum().clamp(min=1)
        if logits.general is None:
            return own
        return own + binary_cross_entropy_with_logits(logits.general.float(), target)

    def add_domain(self, name: str) -> None:
        """Put a new network behind the others; all else is frozen, and only the new one learns from now on.

        Raises ValueError for a name that cannot be taken.
        """
        self._append(name)
        self.networks[_key(name)].to(next(self.language_model.parameters()).device)
        self.train_only(name)

    def remove_domain(self, name: str) -> None:
        """Take a domain's network away; later ones move up a place. Raises ValueError for an unknown name."""
        self.network(name)
        if name == GENERAL:
            raise ValueError("domain: the general network serves all others and cannot be removed")
        del self.networks[_key(name)]
        self.domains = tuple(other for other in self.domains if other != name)

    def train_only(self, name: str) -> None:
        """Freeze all but the network of a domain, or the "general" one. Raises ValueError for an unknown name."""
        chosen = self.network(name)
        self.requires_grad_(False)
        chosen.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> UniCtr:
        """As in torch, but what is frozen whole stays in evaluation: its dropout would be noise that nobody learns."""
        super().train(mode)
        for part in (self.language_model, self.general, *self.networks.values()):
            if part is not None and not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def _append(self, name: str) -> None:
        if not DOMAIN_NAME.fullmatch(name) or name == GENERAL:
            raise ValueError(f"domain: must be lower-case letters, digits, - and _, and not {GENERAL!r}, is {name!r}")
        if name in self.domains:
            raise ValueError(f"domain: {name!r} is there already")
        self.domains = (*self.domains, name)
        width, points = self.language_model.width, len(self.language_model.points)
        self.networks[_key(name)] = DomainNetwork(self.config, width, points)

    def _check(self, present: list[int]) -> None:
        if present and not UNKNOWN_DOMAIN <= present[0] <= present[-1] < len(self.domains):
            raise ValueError(f"domain: must be -1 to {len(self.domains) - 1}, holds {present[0]} to {present[-1]}")
        if self.general is None and UNKNOWN_DOMAIN in present:
            raise ValueError("domain: an unknown one needs the general network, which this configuration left out")

    def _names(self) -> Sequence[str]:
        return (*self.domains, *([GENERAL] if self.general is not None else []))


def _key(name: str) -> str:
    """A name that no attribute of ModuleDict has."""
    return f"domain_{name}"
