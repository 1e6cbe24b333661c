"""Which runtime should the embedded language model use: transformers in batches of 8, or llama.cpp one by one?

    pip install '.[local-llm]' && python -m benchmarks.embedded_runtimes --questions 16

Both answer the same grounded prompts of made-up films, in turn, batch by batch. Loading is timed apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from loreline.domain import Item
from services.knowledge.prompts import Prompt, PromptStyle, render
from services.knowledge.providers import Completion, Provider, build_provider
from services.knowledge.settings import KnowledgeSettings
from services.scenarios import load_scenario

GENRES = ["Drama", "Comedy", "Thriller", "Romance", "Action", "Horror", "Western", "Musical"]
BATCH = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Tokens per second of the embedded model by either runtime.")
    parser.add_argument("--questions", type=int, default=16)
    count: int = parser.parse_args().questions
    if importlib.util.find_spec("llama_cpp") is None:
        raise SystemExit("llama-cpp-python is missing: pip install '.[local-llm]' (it builds for minutes)")
    settings = KnowledgeSettings(listen_address="-", store_path=Path("-"), embedded_batch_questions=BATCH)
    providers = {name: build_provider(name, settings) for name in ("embedded", "embedded-llama-cpp")}
    prompts = _prompts(count)
    loading = {name: _load_seconds(provider, prompts[0]) for name, provider in providers.items()}
    rates: dict[str, list[float]] = {name: [] for name in providers}
    for start in range(0, count, BATCH):
        for name, provider in providers.items():
            rates[name].append(_tokens_per_second(provider, prompts[start : start + BATCH]))
    print(describe_machine())
    base = float(np.median(rates["embedded"]))
    print(f"{'runtime':20} {'tokens/s':>9} {'ratio':>6}   first answer, with loading, s")
    for name, values in rates.items():
        middle = float(np.median(values))
        print(f"{name:20} {middle:9.1f} {middle / base:6.2f}   {loading[name]:.1f}")
    print(f"medians of {len(rates['embedded'])} batches of {BATCH}, at most 80 tokens each; ratio against embedded")


def _prompts(count: int) -> list[Prompt]:
    films = [
        Item(f"i{n}", "movies", f"Film number {n}", {"genres": [GENRES[n % 8], GENRES[n // 8 % 8]], "year": 1990.0 + n})
        for n in range(1, count + 1)
    ]
    scenario = load_scenario("movies")
    return [render(film, scenario, PromptStyle.GROUNDED) for film in films]


def _load_seconds(provider: Provider, prompt: Prompt) -> float:
    began = time.perf_counter()
    list(provider.generate([prompt], 0))
    return time.perf_counter() - began


def _tokens_per_second(provider: Provider, prompts: list[Prompt]) -> float:
    began = time.perf_counter()
    outcomes = [outcome for _, outcome in provider.generate(prompts, 0)]
    tokens = sum(outcome.completion_tokens for outcome in outcomes if isinstance(outcome, Completion))
    return tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
