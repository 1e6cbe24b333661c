"""Hugging Face Text Generation Inference, by its own /generate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from huggingface_hub import AsyncInferenceClient

from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Outcome, ProviderUnavailable
from services.knowledge.providers.http_calls import HttpCalls, MalformedAnswer, answers_get, finish_reason
from services.knowledge.settings import KnowledgeSettings

INFO_TIMEOUT_SECONDS = 5.0
MODEL_VALID_SECONDS = 60.0  # a server may come back with another model under the same address
STOP = ["<|im_end|>", "<|eot_id|>", "</s>"]  # at most 4; a flat prompt leaves the end to the model


class TgiProvider:
    """One server behind /generate. Prompts go flat: the instructions first, so that the server can cache them."""

    prompt_style = PromptStyle.OPEN
    can_sample = True

    def __init__(self, settings: KnowledgeSettings) -> None:
        if not settings.tgi_url:
            raise ProviderUnavailable("provider tgi: set LORELINE_KNOWLEDGE_TGI_URL to the server's address")
        self._url, self._token = settings.tgi_url.rstrip("/"), settings.api_token.get_secret_value()
        self._max_new_tokens = settings.max_new_tokens
        # without a token the client would send the machine's own Hugging Face token to the server
        token = self._token or "none"
        self._client = AsyncInferenceClient(  # only this provider may ask /info
            f"{self._url}/generate", provider="hf-inference", token=token, timeout=settings.request_timeout_seconds
        )
        self._calls = HttpCalls(settings)
        self._model, self._model_until = "", 0.0

    def model(self) -> str:
        """The model id that the server's /info names, asked again each minute. Raises ProviderError."""
        if time.monotonic() >= self._model_until:
            self._model = self._calls.run(self._read_model(), INFO_TIMEOUT_SECONDS)
            self._model_until = time.monotonic() + MODEL_VALID_SECONDS
        return self._model

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """All of them are always sent: the server samples when it is given none."""
        shared = {"max_new_tokens": self._max_new_tokens, "stop": STOP, "seed": sample, "return_full_text": False}
        if sample == 0:
            return {**shared, "do_sample": False}
        return {**shared, "do_sample": True, "temperature": 0.7, "top_p": 0.9}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as the server answers."""
        yield from self._calls.ask_all([partial(self._ask, prompt, sample) for prompt in prompts])

    def answers(self) -> bool:
        """Whether /health answers."""
        return answers_get(f"{self._url}/health", self._token)

    def close(self) -> None:
        """Close connections and the loop."""
        self._calls.close(self._client)

    async def _ask(self, prompt: ChatPrompt, sample: int) -> Completion:
        flat = f"{prompt.system}\n\n{prompt.user}\n\n{prompt.opening}"
        output = await self._client.text_generation(flat, details=True, stream=False, **self.parameters(sample))
        if not isinstance(output.generated_text, str) or output.details is None:
            raise MalformedAnswer("no generated_text or no details")
        details = output.details
        reason = finish_reason(details.finish_reason)
        prompt_tokens = len(details.prefill or []) or int(getattr(details, "input_length", 0) or 0)
        return Completion(prompt.opening + output.generated_text, prompt_tokens, int(details.generated_tokens), reason)

    async def _read_model(self) -> str:
        info = await self._client.get_endpoint_info(model=self._url)
        if not isinstance(info.get("model_id"), str) or not info["model_id"]:
            raise MalformedAnswer("no model_id in /info")
        return str(info["model_id"])
