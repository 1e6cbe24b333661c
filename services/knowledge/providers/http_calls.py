"""How a language model server is asked: bounded concurrency, retries with jitter, a total deadline, a circuit breaker.

Everything runs on one asyncio loop in a thread of its own, so that callers stay synchronous and share the bounds.
"""

from __future__ import annotations

import asyncio
import queue
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import anyio
import httpx2
import structlog
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from tenacity import AsyncRetrying, retry_if_exception

from services.knowledge.providers import (
    Completion,
    PromptTooLong,
    ProviderError,
    ProviderOutcome,
    ProviderRefused,
    ProviderUnavailable,
)
from services.knowledge.settings import KnowledgeSettings
from services.runtime.backoff import Backoff

RETRIED_STATUSES = frozenset({408, 424, 429, 500, 502, 503, 504})
REFUSED_STATUSES = frozenset({400, 413, 415, 422})
MALFORMED_RETRIES = 2  # one may be a proxy's page; a server that always answers so speaks another protocol
TOO_LARGE_STATUS = 413
HEALTH_TIMEOUT_SECONDS = 2.0
# TGI: "`inputs` must have less than 1024 tokens", "`inputs` tokens + `max_new_tokens` must be <= 2048";
# vLLM and OpenAI: "maximum context length is 4096 tokens", "context_length_exceeded"; llama.cpp: "exceeds the available
# context size"
_TOO_LONG = re.compile(
    r"must have less than \d+ tokens|inputs.? tokens \+|maximum (?:context|model) length|context_length_exceeded"
    r"|exceeds? the (?:available )?context|prompt is too long|longer than the maximum model length",
    re.IGNORECASE,
)
# what parsing an answer raises when it is not what the contract says
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError)
T = TypeVar("T")
log = structlog.get_logger(__name__)


class MalformedAnswer(ValueError):
    """The server's answer lacks a required part; the message names it."""


class CircuitBreaker:
    """Lets a failing server alone: after `failures` tries in a row none is made for `pause_seconds`, then one may be.

    While that one is under way no other is, however long it takes. Not thread-safe: used on one event loop.
    """

    def __init__(self, failures: int, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._pause, self._clock = failures, pause_seconds, clock
        self._failed, self._open_until = 0, 0.0
        self._probe: object | None = None

    def is_open(self) -> bool:
        """Whether the server is left alone; the only method that any thread may call."""
        return self._failed >= self._limit

    @property
    def seconds_left(self) -> float:
        """How long until the next try may be made, as far as is known; 0 or less: now."""
        return self._open_until - self._clock() if self.is_open() else 0.0

    def check(self) -> None:
        """Raises ProviderUnavailable while the circuit is open and no try is due."""
        if self.is_open() and (self._probe is not None or self.seconds_left > 0):
            left = max(0.0, self.seconds_left)
            raise ProviderUnavailable(f"the server failed {self._failed} times in a row; asked again in {left:.1f} s")

    def enter(self) -> object:
        """Begin a try, and give it a token to leave with. Raises ProviderUnavailable while the circuit is open."""
        self.check()
        entered = object()
        if self.is_open():
            self._probe = entered
        return entered

    def leave(self, entered: object | None, outcome: ProviderOutcome | None) -> None:
        """End a try; None says that it was broken off. A refusal is an answer: the server works."""
        if self._probe is entered:
            self._probe = None
        if isinstance(outcome, ProviderUnavailable):
            self._failed += 1
            self._open_until = self._clock() + self._pause
        elif outcome is not None:
            self._failed = 0


class HttpCalls:
    """Puts questions to one server. Safe to call from several threads."""

    def __init__(self, settings: KnowledgeSettings) -> None:
        self._deadline_seconds = settings.question_deadline_seconds
        self._backoff = Backoff(settings.retry_initial_seconds, settings.retry_max_seconds)
        self._most_questions, self._pause_jitter = settings.max_concurrent_questions, settings.retry_max_seconds
        self._slots: anyio.CapacityLimiter | None = None
        self._breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_pause_seconds)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True)
        self._thread.start()

    def ask_all(self, questions: list[Callable[[], Awaitable[Completion]]]) -> Iterator[tuple[int, ProviderOutcome]]:
        """Yield (index, outcome) of every question as it comes; closing the iterator cancels the rest."""
        outcomes: queue.SimpleQueue[tuple[int, ProviderOutcome]] = queue.SimpleQueue()
        tasks = [self._submit(self._ask_in_turn(ask)) for ask in questions]
        for index, task in enumerate(tasks):
            task.add_done_callback(partial(_hand_over, outcomes, index))
        try:
            for _ in questions:
                yield outcomes.get()
        finally:
            for task in tasks:
                task.cancel()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_seconds: float) -> T:
        """The result of one try on the loop. Raises ProviderError, at once while the circuit is open.

        A failure counts for the circuit; a success does not: who tells its name may still be unable to write.
        """
        try:
            return self._submit(self._read(work, timeout_seconds)).result()
        except Exception as error:
            raise translate(error) from error

    def limit_concurrency(self, most: int) -> None:
        """Put at most so many questions at a time, never more than the setting."""
        self._submit(self._limit(max(1, min(most, self._most_questions)))).result()

    def is_paused(self) -> bool:
        """Whether the server is left alone because questions failed."""
        return self._breaker.is_open()

    def close(self, client: Any) -> None:
        """Close the client, stop the loop and its thread."""
        if self._loop.is_closed():
            return
        self._submit(_shut(client)).result(timeout=HEALTH_TIMEOUT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _read(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_seconds: float) -> T:
        self._breaker.check()
        try:
            return await asyncio.wait_for(work(), timeout_seconds)
        except Exception as error:
            self._breaker.leave(None, translate(error))
            raise

    def _turns(self) -> anyio.CapacityLimiter:
        if self._slots is None:  # anyio wants a running loop
            self._slots = anyio.CapacityLimiter(self._most_questions)
        return self._slots

    async def _limit(self, most: int) -> None:
        self._turns().total_tokens = most

    async def _ask_in_turn(self, ask: Callable[[], Awaitable[Completion]]) -> ProviderOutcome:
        try:
            self._breaker.check()
            async with self._turns():
                self._breaker.check()
                return await self._ask_until_deadline(ask)
        except ProviderUnavailable as error:
            return error

    async def _ask_until_deadline(self, ask: Callable[[], Awaitable[Completion]]) -> ProviderOutcome:
        last: list[ProviderError] = []
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._retrying(last)(partial(self._try, ask))
        except TimeoutError:
            said = f"; it said last: {last[-1]}" if last else ""
            return ProviderUnavailable(f"no answer within {self._deadline_seconds:g} s{said}")
        except Exception as error:
            return translate(error)

    async def _try(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        entered = await self._permission()
        outcome: ProviderOutcome | None = None
        try:
            outcome = completion = await ask()
        except Exception as error:
            outcome = translate(error)
            raise
        finally:
            self._breaker.leave(entered, outcome)
        return completion

    async def _permission(self) -> object:
        """Wait until the circuit lets this question make a try: a question that was taken on is not given up early."""
        while True:
            try:
                return self._breaker.enter()
            except ProviderUnavailable:
                jitter = random.uniform(0, self._pause_jitter)
                await asyncio.sleep(max(0.0, self._breaker.seconds_left) + jitter)

    def _retrying(self, last: list[ProviderError]) -> AsyncRetrying:
        def is_worth_a_retry(error: BaseException) -> bool:
            if not isinstance(error, Exception):
                return False
            last.append(translate(error))
            malformed = sum(isinstance(said.__cause__, MALFORMED) for said in last)
            return is_retried(error) and malformed <= MALFORMED_RETRIES

        return AsyncRetrying(wait=self._backoff, retry=retry_if_exception(is_worth_a_retry), reraise=True)


def _hand_over(
    outcomes: queue.SimpleQueue[tuple[int, ProviderOutcome]], index: int, task: Future[ProviderOutcome]
) -> None:
    # a caller waits for one outcome of each question: without this it would wait for ever once the calls are closed
    given_up = ProviderUnavailable("the question was given up because the process stops")
    outcomes.put((index, given_up if task.cancelled() else task.result()))


async def _shut(client: Any) -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await client.close()


def is_retried(error: Exception) -> bool:
    """Whether the same question may succeed if it is put again soon."""
    status = _status(error)
    if status is not None:
        return status in RETRIED_STATUSES
    return isinstance(error, (httpx2.TransportError, InferenceTimeoutError, *MALFORMED))


def translate(error: Exception) -> ProviderError:
    """A failure in the provider's terms, without any text of prompt or answer."""
    status = _status(error)
    if isinstance(error, ProviderError):
        return error
    if status in REFUSED_STATUSES and (status == TOO_LARGE_STATUS or _TOO_LONG.search(_said(error))):
        return PromptTooLong(f"the server says with status {status} that the prompt is too long")
    if status in REFUSED_STATUSES:
        return ProviderRefused(f"the server refused the question with status {status}")
    if status is not None:
        return ProviderUnavailable(f"the server answered with status {status}")
    if isinstance(error, MALFORMED):
        detail = f": {error}" if isinstance(error, MalformedAnswer) else ""
        unavailable = ProviderUnavailable(f"the server's answer is malformed ({type(error).__name__}{detail})")
        unavailable.__cause__ = error
        return unavailable
    return ProviderUnavailable(f"the server cannot be reached ({type(error).__name__})")


def finish_reason(word: object) -> str:
    """`stop` or `length` of the many words that servers use. Raises MalformedAnswer when there is none."""
    if not isinstance(word, str) or not word:
        raise MalformedAnswer("no finish reason")
    return "length" if word in {"length", "max_tokens"} else "stop"


def answers_get(url: str, token: str) -> bool:
    """Whether a GET of `url` is answered with a 2xx status within 2 seconds."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=HEALTH_TIMEOUT_SECONDS) as response:
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _status(error: BaseException | None) -> int | None:
    response = _response(error)
    return None if response is None else int(response.status_code)


def _said(error: BaseException) -> str:
    """The body of the server's answer: to look for words in, never to be told on, since it may quote the prompt."""
    response = _response(error)
    return "" if response is None else str(response.text)


def _response(error: BaseException | None) -> Any:
    while error is not None:  # text generation errors carry the response in their cause
        if isinstance(error, HfHubHTTPError):
            return error.response
        error = error.__cause__
    return None
