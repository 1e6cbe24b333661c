"""Where texts come from. To add a provider: one file here with a class that fits `Provider`, one line in PROVIDERS."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.settings import KnowledgeSettings


@dataclass(frozen=True)
class Completion:
    """What a provider wrote. `finish_reason`: `stop`, `length` (cut by the token limit) or empty when not said."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = "stop"


class ProviderError(Exception):
    """No completion came of a question; the message never holds prompt or text. `reason` is that of the failure."""

    reason = "UNAVAILABLE"


class ProviderUnavailable(ProviderError):
    """The provider does not answer, is overloaded or timed out, or its answers are malformed; a retry may succeed."""


class ProviderRefused(ProviderError):
    """The provider refuses the question as it stands; a retry is useless."""

    reason = "REFUSED"


class PromptTooLong(ProviderRefused):
    """The prompt is over the model's limit."""

    reason = "TOO_LONG"


@dataclass(frozen=True)
class Limits:
    """Most tokens that a provider writes for an answer, and reads in a prompt; None: not known, or no matter."""

    new_tokens: int
    prompt_tokens: int | None = None

    def check(self) -> None:
        """Raises ProviderUnavailable when no prompt fits beside such an answer: the settings' fault, not a prompt's."""
        if self.prompt_tokens is not None and self.prompt_tokens <= 0:
            raise ProviderUnavailable(
                f"answers of up to {self.new_tokens} tokens leave no room for a prompt in the model's context: "
                "lower LORELINE_KNOWLEDGE_MAX_NEW_TOKENS"
            )


ProviderOutcome = Completion | ProviderError


class Provider(Protocol):
    """What the generator needs of whoever writes texts. Safe to call from several threads."""

    prompt_style: PromptStyle
    can_sample: bool
    """Whether `sample` > 0 gives another text than 0."""

    def model(self) -> str:
        """The model's id as its server names it. Raises ProviderUnavailable when the server must be asked and fails."""
        ...

    def limits(self) -> Limits:
        """What the model takes and writes, as it was when `model` was last called; asks nobody."""
        ...

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """The generation parameters of a sample, fit for JSON: part of the answer's key and provenance."""
        ...

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield (index of the prompt, outcome) as answers come, in any order, one for each prompt.

        Closing the iterator abandons what has not been answered. Raises ProviderUnavailable for all at once.
        """
        ...

    def answers(self) -> bool:
        """Whether the provider is ready to be asked; ends within a few seconds."""
        ...

    def is_paused(self) -> bool:
        """Whether the provider is left alone for a while because it failed."""
        ...

    def close(self) -> None:
        """Let go of threads and connections."""
        ...


PROVIDERS = {  # name: module and class, imported on first use because torch takes seconds
    "catalogue": "services.knowledge.providers.catalogue:CatalogueProvider",
    "embedded": "services.knowledge.providers.embedded:EmbeddedProvider",
    "embedded-llama-cpp": "services.knowledge.providers.embedded_llama_cpp:LlamaCppProvider",
    "openai": "services.knowledge.providers.openai_compatible:OpenAICompatibleProvider",
    "tgi": "services.knowledge.providers.tgi:TgiProvider",
}


def build_provider(name: str, settings: KnowledgeSettings) -> Provider:
    """A new provider. Raises KeyError for an unknown name, ProviderUnavailable when its settings or packages lack."""
    module, class_name = PROVIDERS[name].split(":")
    try:
        provider: Provider = getattr(importlib.import_module(module), class_name)(settings)
    except ImportError as error:
        raise ProviderUnavailable(f"provider {name}: install the package {error.name!r}") from error
    return provider


class ProviderPool:
    """The providers of a process, each built when it is first asked for. Safe to share between threads."""

    def __init__(self, names: Sequence[str], build: Callable[[str], Provider]) -> None:
        self.names = sorted(names)
        self._build, self._built, self._lock = build, dict[str, Provider](), threading.Lock()

    def get(self, name: str) -> Provider:
        """The provider of that name. Raises KeyError, ProviderUnavailable."""
        with self._lock:
            if name not in self._built:
                self._built[name] = self._build(name)
            return self._built[name]

    def is_paused(self, name: str) -> bool:
        """Whether that provider is left alone; one that was never asked for is not."""
        with self._lock:
            provider = self._built.get(name)
        return provider is not None and provider.is_paused()

    def close(self) -> None:
        """Close every provider that was built."""
        with self._lock:
            for provider in self._built.values():
                provider.close()
            self._built.clear()
