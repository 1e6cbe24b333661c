"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, TGI's messages API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from huggingface_hub import AsyncInferenceClient

from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Outcome, ProviderUnavailable
from services.knowledge.providers.http_calls import HttpCalls, MalformedAnswer, answers_get, finish_reason
from services.knowledge.settings import KnowledgeSettings


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

    def model(self) -> str:
        """The model's name in the settings."""
        return self._model

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """Temperature 0 is greedy; left out it would be sampled."""
        sampling = {"temperature": 0.0} if sample == 0 else {"temperature": 0.7, "top_p": 0.9}
        return {"max_tokens": self._max_tokens, "seed": sample, **sampling}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as the server answers."""
        yield from self._calls.ask_all([partial(self._ask, prompt, sample) for prompt in prompts])

    def answers(self) -> bool:
        """Whether the server lists its models."""
        return answers_get(f"{self._url}/models", self._token)

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
