"""Hugging Face Text Generation Inference, by its own /generate."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from huggingface_hub import AsyncInferenceClient

from services.knowledge.prompts import ChatPrompt, PromptStyle
from services.knowledge.providers import Completion, Limits, ProviderOutcome, ProviderUnavailable
from services.knowledge.providers.http_calls import HttpCalls, MalformedAnswer, answers_get, finish_reason
from services.knowledge.settings import KnowledgeSettings

INFO_TIMEOUT_SECONDS = 5.0
INFO_VALID_SECONDS = 60.0  # a server may come back with another model under the same address
MOST_TOLD = 2**40  # no server reads so many tokens: a limit above it was not told
STOP = ["<|im_end|>", "<|eot_id|>", "</s>"]  # at most 4; a flat prompt leaves the end to the model


@dataclass(frozen=True)
class ServerInfo:
    """What /info says; a server that leaves a limit out has none that we know."""

    model_id: str
    max_concurrent_requests: int = sys.maxsize
    max_input_tokens: int = sys.maxsize
    max_total_tokens: int = sys.maxsize

    def prompt_tokens(self, new_tokens: int) -> int | None:
        """Most tokens of a prompt whose answer may have so many; None when the server does not say."""
        most = min(self.max_input_tokens, self.max_total_tokens - new_tokens)
        return None if most > MOST_TOLD else most


_NOTHING = ServerInfo("")


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
        self._info, self._info_until, self._reading = _NOTHING, 0.0, threading.Lock()

    def model(self) -> str:
        """The model id that the server's /info names, asked again each minute with its limits. Raises ProviderError."""
        with self._reading:  # many callers, one request
            if time.monotonic() >= self._info_until:
                self._info = self._calls.run(self._read_info, INFO_TIMEOUT_SECONDS)
                self._calls.limit_concurrency(self._info.max_concurrent_requests)
                self._info_until = time.monotonic() + INFO_VALID_SECONDS
        self.limits().check()
        return self._info.model_id

    def limits(self) -> Limits:
        """The setting's for the answer, the server's for the prompt."""
        return Limits(self._max_new_tokens, self._info.prompt_tokens(self._max_new_tokens))

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """All of them are always sent: the server samples when it is given none."""
        shared = {"max_new_tokens": self._max_new_tokens, "stop": STOP, "seed": sample, "return_full_text": False}
        if sample == 0:
            return {**shared, "do_sample": False}
        return {**shared, "do_sample": True, "temperature": 0.7, "top_p": 0.9}

    def generate(self, prompts: Sequence[ChatPrompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield outcomes as the server answers."""
        yield from self._calls.ask_all([partial(self._ask, prompt, sample) for prompt in prompts])

    def answers(self) -> bool:
        """Whether /health answers."""
        return answers_get(f"{self._url}/health", self._token)

    def is_paused(self) -> bool:
        """Whether the circuit is open."""
        return self._calls.is_paused()

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

    async def _read_info(self) -> ServerInfo:
        return _server_info(await self._client.get_endpoint_info(model=self._url))


def _server_info(info: Mapping[str, Any]) -> ServerInfo:
    if not isinstance(info.get("model_id"), str) or not info["model_id"]:
        raise MalformedAnswer("no model_id in /info")
    limits = {
        field.name: info[field.name] for field in dataclasses.fields(ServerInfo) if _is_limit(info.get(field.name))
    }
    return ServerInfo(info["model_id"], **limits)


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
