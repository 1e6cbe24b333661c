"""What scoring one user's candidates costs: Uni-CTR whole, Uni-CTR with the user read once, and a student.

    python -m benchmarks.uni_ctr_scoring --candidates 200

All run in PyTorch in float32, on prompts of made-up products with five liked ones. Networks are untrained:
weights do not change what they cost. The seconds are processor time of all threads, so other load matters little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.machine import describe_machine
from services.ctr.backbones import BACKBONES
from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.prefix import hidden_after_prefix
from services.ctr.uni_ctr.prompt_encoder import EncodedPrompts, PromptEncoder
from services.ctr.uni_ctr.prompts import PromptItem, Prompts
from services.ctr.uni_ctr.student import Student
from services.trainer.multi_domain.pretrained_models import load_language_model
from services.trainer.release.export import ExportedScorer

ENCODER, DECODER = "all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"
LADDERS = 3  # for each language model, so that the networks over them cost alike
MAX_TOKENS = 128
Measured = dict[str, Callable[[], object]]


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Processor seconds for a list of candidates by three ways to score.")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    measured, lengths = _ways(asked.candidates)
    print(describe_machine())
    print("\n".join(lengths))
    seconds = {name: [_processor_seconds(way) for _ in range(asked.rounds)] for name, way in measured.items()}
    base = float(np.median(seconds["student"]))
    print(f"{'way':45} {'CPU ms':>10} {'x student':>10}")
    for name, values in seconds.items():
        print(f"{name:45} {1000 * np.median(values):10.1f} {np.median(values) / base:10.0f}")


def _ways(candidates: int) -> tuple[Measured, list[str]]:
    measured: Measured = {}
    lengths = []
    for name in (ENCODER, DECODER):
        network, encoded = _network(name, candidates)
        inputs = [torch.from_numpy(value) for value in encoded[:2]]
        user = int(encoded.user_tokens[0])
        lengths.append(f"{name}: {inputs[0].shape[1]} tokens a prompt, of which {user} are the user's")
        measured[f"{name}, whole"] = partial(network, *inputs, torch.zeros(candidates, dtype=torch.long))
        if network.language_model.reads_forward_only:
            measured[f"{name}, user read once"] = partial(_with_prefix, network, *inputs, user)
        states = network.hidden(*inputs)
        measured[f"one domain's network over {name}"] = partial(network.head, "shop", states, inputs[1])
    measured["student"] = _student(candidates)
    return measured, lengths


def _network(name: str, candidates: int) -> tuple[UniCtr, EncodedPrompts]:
    loaded = load_language_model(name)
    every = -(-loaded.model.config.num_hidden_layers // LADDERS)
    network = UniCtr(LanguageModel(loaded.model, every), UniCtrConfig(), ["shop"]).eval()
    items = [PromptItem(str(n), f"Garden tool number {n}", {"brand": f"Brand {n % 50}"}) for n in range(candidates + 5)]
    prompts = Prompts("garden and tools", fields=("brand", "price"))
    parts = [prompts.parts("user-1", items[:5], item) for item in items[5:]]
    return network, PromptEncoder(loaded.tokenizer, MAX_TOKENS).encode(parts, same_user=True)


def _with_prefix(network: UniCtr, ids: torch.Tensor, mask: torch.Tensor, user_tokens: int) -> object:
    assert isinstance(network.language_model, LanguageModel)
    states = hidden_after_prefix(network.language_model, ids, mask, user_tokens)
    return network.logits(states, mask, torch.zeros(len(ids), dtype=torch.long))


def _student(candidates: int) -> Callable[[], object]:
    spec = FeatureSpec(item_count=100_000, field_counts=(50, 10), maximum_rating=5, augmented_width=32)
    student = Student(BACKBONES["din"], spec, ["shop"], AdaptorConfig(384)).eval()
    fields, history = torch.ones(1, 30, 2, dtype=torch.long), torch.ones(1, 30, dtype=torch.long)
    item = torch.arange(1, candidates + 1).unsqueeze(0)
    batch = RankingBatch(
        item, fields[:, :1].expand(1, candidates, 2), torch.rand(1, candidates, 32), history, fields, history.float(),
        torch.rand(1, 32),
    )  # fmt: skip
    return partial(ExportedScorer(student.network.backbone), *batch, torch.zeros(1, dtype=torch.long))


def _processor_seconds(way: Callable[[], object]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


if __name__ == "__main__":
    main()
