"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, TGI's messages API."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient

from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderError, ProviderOutcome, ProviderUnavailable
from services.knowledge.providers.http_calls import HttpCalls, MalformedAnswer, answers_get, finish_reason
from services.knowledge.settings import KnowledgeSettings

CONTEXT_VALID_SECONDS = 60.0  # a server may come back with another model under the same address
LIST_TIMEOUT_SECONDS = 5.0
SERVER_FAULT = 500


class OpenAICompatibleProvider:
    """One model behind /chat/completions."""

    prompt_style = PromptStyle.OPEN
    can_sample = True

    def __init__(self, settings: KnowledgeSettings) -> None:
        if not (settings.openai_url and settings.openai_model):
            raise ProviderUnavailable(
                "provider openai: set LORELINE_KNOWLEDGE_OPENAI_URL and LORELINE_KNOWLEDGE_OPENAI_MODEL"
            )
        self._url, self._token = settings.openai_url.rstrip("/"), settings.api_token.get_secret_value()
        self._model, self._max_tokens = settings.openai_model, settings.max_new_tokens
        # without a token the client would send the machine's own Hugging Face token to the server
        token = self._token or "none"
        self._client = AsyncInferenceClient(base_url=self._url, token=token, timeout=settings.request_timeout_seconds)
        self._calls = HttpCalls(settings)
        self._context: int | None = None
        self._context_until, self._reading = 0.0, threading.Lock()

    def model(self) -> str:
        """The model's name in the settings. The server is asked each minute how much the model reads, if it tells."""
        with self._reading:  # many callers, one request
            if time.monotonic() >= self._context_until:
                self._read_context()
        self.limits().check()
        return self._model

    def limits(self) -> Limits:
        """The setting's for the answer; for the prompt what the model's context leaves beside it."""
        return Limits(self._max_tokens, None if self._context is None else self._context - self._max_tokens)

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """Temperature 0 is greedy; left out it would be sampled."""
        sampling = {"temperature": 0.0} if sample == 0 else {"temperature": 0.7, "top_p": 0.9}
        return {"max_tokens": self._max_tokens, "seed": sample, **sampling}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield outcomes as the server answers."""
        yield from self._calls.ask_all([partial(self._ask, prompt, sample) for prompt in prompts])

    def answers(self) -> bool:
        """Whether the server lists its models."""
        return answers_get(f"{self._url}/models", self._token)

    def is_paused(self) -> bool:
        """Whether the circuit is open."""
        return self._calls.is_paused()

    def close(self) -> None:
        """Close connections and the loop."""
        self._calls.close(self._client)

    async def _ask(self, prompt: ChatPrompt, sample: int) -> Completion:
        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        output = await self._client.chat_completion(messages, model=self._model, **self.parameters(sample))
        choice = output.choices[0]
        if not isinstance(choice.message.content, str):
            raise MalformedAnswer("no message content")
        reason, usage = finish_reason(choice.finish_reason), output.usage
        prompt_tokens = int(usage.prompt_tokens) if usage else 0
        return Completion(choice.message.content, prompt_tokens, int(usage.completion_tokens) if usage else 0, reason)

    def _read_context(self) -> None:
        """Tokens of the model's context, which vLLM tells as `max_model_len`; None where nothing is told."""
        try:
            listed = self._calls.run(self._list_models, LIST_TIMEOUT_SECONDS)
        except ProviderError:
            return  # what was known stays, and the question itself will show whether the server answers
        lengths = [model.get("max_model_len") for model in listed if model.get("id") == self._model]
        self._context = lengths[0] if lengths and isinstance(lengths[0], int) and lengths[0] > 0 else None
        self._context_until = time.monotonic() + CONTEXT_VALID_SECONDS

    async def _list_models(self) -> list[dict[str, Any]]:
        """What the server tells of its models: nothing, where it does not list them. Raises what translate() knows."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with httpx2.AsyncClient(timeout=LIST_TIMEOUT_SECONDS) as client:
            response = await client.get(f"{self._url}/models", headers=headers)
        if response.status_code >= SERVER_FAULT:
            raise ProviderUnavailable(f"the server answered with status {response.status_code}")
        try:
            listed = response.json()["data"]
        except (ValueError, KeyError, TypeError):
            return []
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
