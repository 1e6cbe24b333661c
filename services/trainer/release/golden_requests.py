"""Picks the requests of a version's golden set out of the test part, and lets the network answer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.ctr.hybrid_expert_adaptor import HybridExpertAdaptor
from services.ctr.knowledge_augmented import DistinctKnowledge, KnowledgeAugmented
from services.model_registry import DOMAIN, SCORER_INPUTS, GoldenSet
from services.trainer.data.samples import Samples
from services.trainer.training.batches import BatchBuilder
from services.trainer.training.networks import logits

REQUESTS, CANDIDATES, VECTORS = 32, 20, 32


def golden_set(network: KnowledgeAugmented, test: Samples, batches: BatchBuilder) -> GoldenSet:
    """Requests of REQUESTS test samples for CANDIDATES items of the test part, scored by the network on the CPU.

    `batches` must be on the CPU too.
    """
    network.eval()
    requests = golden_samples(test)
    inputs = batches.inputs(requests, np.arange(len(requests)))
    with torch.inference_mode():
        scores = torch.sigmoid(logits(network, inputs))
        batch = inputs.batch._replace(
            item_augmented=augmented(network.adaptor.adapt_items(inputs.items.vectors), inputs.items),
            user_augmented=augmented(network.adaptor.adapt_users(inputs.users.vectors), inputs.users),
        )
    named = {name: getattr(batch, name) for name in SCORER_INPUTS}
    return golden_of(named, scores, network.adaptor, batches.item_knowledge, batches.user_knowledge)


def golden_of(
    inputs: Mapping[str, Tensor], scores: Tensor, adaptor: HybridExpertAdaptor, items: Tensor, users: Tensor
) -> GoldenSet:
    """Requests with their inputs and scores (N, C), and some of the vectors (M + 1, K) with what the adaptor makes."""
    types = {name: dtype for name, (dtype, _) in (SCORER_INPUTS | {DOMAIN: ("int64", ())}).items()}
    with torch.inference_mode():
        item, user = _some(items), _some(users)
        adapted = {"item": adaptor.adapt_items(item), "user": adaptor.adapt_users(user)}
    return GoldenSet(
        inputs={name: _array(values).astype(types[name]) for name, values in inputs.items()},
        scores=_array(scores).astype(np.float32),
        knowledge={"item": item.cpu().numpy(), "user": user.cpu().numpy()},
        augmented={"item": adapted["item"].cpu().numpy(), "user": adapted["user"].cpu().numpy()},
    )


def golden_samples(test: Samples) -> Samples:
    """Samples spread over the test part; beside each one's own item stand items of others."""
    chosen = np.unique(np.linspace(0, len(test) - 1, REQUESTS).astype(np.int64))
    samples = test.take(chosen)
    items, random = np.unique(test.item), np.random.default_rng(0)
    size = min(CANDIDATES, len(items))
    shown = np.stack([_candidates(own, items, size, random) for own in samples.item[:, 0]])
    return replace(samples, item=shown, label=np.zeros(shown.shape, dtype=np.float32))


def _candidates(
    own: np.int64, items: npt.NDArray[np.int64], size: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    others = random.permutation(items[items != own])[: size - 1]
    return np.concatenate([[own], others])


def _some(table: Tensor) -> Tensor:
    """Up to VECTORS of the table's vectors, without its first row, which stands for no knowledge."""
    if len(table) == 1:
        return table[:0]
    return table[torch.from_numpy(np.unique(np.linspace(1, len(table) - 1, VECTORS).astype(np.int64)))]


def augmented(vectors: Tensor, distinct: DistinctKnowledge) -> Tensor:
    """Adapted vectors (M, A) at a batch's places; zeros where there is no knowledge."""
    return vectors[distinct.at] * distinct.known.unsqueeze(-1)


def _array(values: Tensor) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = values.detach().cpu().numpy()
    return array
