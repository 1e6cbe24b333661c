"""What does Rank of 200 candidates cost by a language model, by one that reads the user once, and by the student?

    python -m benchmarks.unictr_latency --rounds 5

Served: the real ranking process over gRPC, features in Redis, with a version of each kind active; a request names the
version that ranks it. In-process and in a real Triton (Python backend). Not served, since no ONNX file keeps a prefix:
a decoder of the same size in PyTorch, whole and with the user's tokens computed once, on prompts of the same kind.
One serial client; all ways are taken in turn in every round, another one first each time. CPU is the processor time of
all processes that worked for an answer, features not among them. Networks have random weights, which cost what trained
ones cost; so has the decoder, which is no language model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaModel

from benchmarks.machine import describe_machine
from benchmarks.model_version import promote_random_version
from benchmarks.ranking_catalogue import Catalogue, fill, questions
from benchmarks.ranking_processes import Processes, Target
from benchmarks.unictr_versions import FORMAT, LADDER_EVERY, LIKED, SCENARIO, WIDTH, promote_student, promote_uni_ctr
from deploy.triton.render import render
from loreline.client import RankingClient
from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.prefix import hidden_after_prefix
from services.ctr.uni_ctr.prompt_encoder import EncodedPrompts, PromptEncoder
from services.ctr.uni_ctr.prompts import PromptItem
from services.model_registry import ModelRegistry
from services.trainer.multi_domain.pretrained_models import DEFAULT_LANGUAGE_MODEL, load_language_model

ITEMS, CANDIDATES = 1_600, 200
TIMEOUT_SECONDS = 300.0  # of one list, where others use the machine too
BASE = "student, in-process"


@dataclass(frozen=True)
class Way:
    """One way to score the list, and the processor seconds that it has taken so far."""

    score: Callable[[], object]
    cpu_seconds: Callable[[], float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Rank of 200 candidates: language model, user read once, student.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ways = _served(Path(folder), stack)
        decoders, about = _decoders()
        ways |= decoders
        for way in ways.values():
            way.score()
        found = _measured(ways, rounds)
    _print(found, rounds, about)


def _served(home: Path, stack: ExitStack) -> dict[str, Way]:
    registry, catalogue = ModelRegistry(home / "models"), Catalogue.random(ITEMS, WIDTH)
    promote_random_version(registry, ITEMS)
    versions = {"kar": "1", "unictr": promote_uni_ctr(registry, DEFAULT_LANGUAGE_MODEL)}
    versions["student"] = promote_student(registry, ITEMS)
    render(registry, home / "triton", "python")
    processes = Processes(home, stack)
    store = {"FEATURE_DIRECTORY": str(home / "features"), "ONLINE_STORE": "redis"}
    features = processes.service("features", store)
    address = features.url.split("/")[2]
    fill(address, catalogue)
    triton, triton_pid = processes.triton(home / "triton")
    own = {"FEATURES_ADDRESS": address, "MODEL_REGISTRY": str(registry.root), "REDIS_CONNECTION": processes.redis}
    own |= {"LANGUAGE_MODEL_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)}
    near = processes.service("ranking", own, "ranking")
    far = processes.service("ranking", {**own, "TRITON_ADDRESS": triton}, "ranking with Triton")
    [(user, candidates), *_] = questions(catalogue, CANDIDATES)
    ways = {}
    for place, target, pids in (("in-process", near, ()), ("Triton", far, (triton_pid,))):
        whole = Target(target.name, target.url, target.own_pid, (*target.pids, *pids))
        client = stack.enter_context(RankingClient(target.url.split("/")[2], timeout_seconds=TIMEOUT_SECONDS))
        for kind, version in versions.items():
            score = partial(client.rank, user, SCENARIO, candidates, model_version=version)
            ways[f"{kind}, {place}"] = Way(score, whole.cpu_seconds)
    return ways


def _decoders() -> tuple[dict[str, Way], str]:
    """The ways of a decoder, and how long the prompts are."""
    torch.manual_seed(1)
    loaded = load_language_model(DEFAULT_LANGUAGE_MODEL)
    like = loaded.model.config
    sizes = {name: getattr(like, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    model = LlamaModel(LlamaConfig(**sizes, num_attention_heads=12, intermediate_size=like.intermediate_size)).eval()
    network = UniCtr(LanguageModel(model, LADDER_EVERY), UniCtrConfig(), [SCENARIO]).eval()
    encoded = _prompts(PromptEncoder(loaded.tokenizer, FORMAT.max_tokens))
    ids, mask = (torch.from_numpy(values) for values in encoded[:2])
    user = int(encoded.user_tokens[0])
    own = torch.zeros(len(ids), dtype=torch.long)

    @torch.inference_mode()
    def whole() -> object:
        return network(ids, mask, own)

    @torch.inference_mode()
    def once() -> object:
        return network.logits(hidden_after_prefix(network.language_model, ids, mask, user), mask, own)

    about = f"prompts: {ids.shape[1]} tokens at most, {user} of them the user's"
    ways = {"decoder, PyTorch, whole": whole, "decoder, PyTorch, user read once": once}
    return {name: Way(score, time.process_time) for name, score in ways.items()}, about


def _prompts(encoder: PromptEncoder) -> EncodedPrompts:
    items = [PromptItem(f"i{n}", f"Film {n}", {"genre": f"Genre {n % 18}", "decade": "1980"}) for n in range(ITEMS)]
    prompts = FORMAT.prompts(SCENARIO)
    chosen = np.random.default_rng(0).choice(ITEMS, CANDIDATES + LIKED, replace=False).tolist()
    history = [items[n] for n in chosen[:LIKED]]
    return encoder.encode([prompts.parts("u0", history, items[n]) for n in chosen[LIKED:]], same_user=True)


def _measured(ways: Mapping[str, Way], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each way in each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            began, cpu = time.perf_counter(), ways[name].cpu_seconds()
            ways[name].score()
            found[name].append((time.perf_counter() - began, ways[name].cpu_seconds() - cpu))
    return found


def _print(found: Mapping[str, list[tuple[float, float]]], rounds: int, about: str) -> None:
    base = float(np.median([wall for wall, _ in found[BASE]]))
    print(f"Rank of {CANDIDATES} candidates, {rounds} rounds, one serial client; {about}")
    print(describe_machine())
    print(f"{'way':34} {'p50 ms':>10} {'least':>10} {'most':>10} {'CPU ms':>10} {'x student':>10}")
    for name, values in found.items():
        wall, cpu = 1000 * np.array(values).T
        p50 = float(np.median(wall))
        line = f"{name:34} {p50:10.1f} {wall.min():10.1f} {wall.max():10.1f} {np.median(cpu):10.1f}"
        print(f"{line} {p50 / 1000 / base:10.1f}")


if __name__ == "__main__":
    main()
