"""How a language model server is asked: bounded concurrency, retries with jitter, a total deadline, a circuit breaker.

Everything runs on one asyncio loop in a thread of its own, so that callers stay synchronous and share the bounds.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import httpx2
import structlog
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from services.knowledge.providers import Completion, Outcome, ProviderError, ProviderRefused, ProviderUnavailable
from services.knowledge.settings import KnowledgeSettings

RETRIED_STATUSES = frozenset({408, 424, 429, 500, 502, 503, 504})
REFUSED_STATUSES = frozenset({400, 413, 415, 422})
MALFORMED_RETRIES = 2  # one may be a proxy's page; a server that always answers so speaks another protocol
HEALTH_TIMEOUT_SECONDS = 2.0
# what parsing an answer raises when it is not what the contract says
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError)
T = TypeVar("T")
log = structlog.get_logger(__name__)


class MalformedAnswer(ValueError):
    """The server's answer lacks a required part; the message names it."""


class CircuitBreaker:
    """Lets a failing server alone: after `failures` in a row none is asked for `pause_seconds`, then one may try.

    Not thread-safe: used on one event loop.
    """

    def __init__(self, failures: int, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._pause, self._clock = failures, pause_seconds, clock
        self._failed, self._open_until = 0, 0.0

    def enter(self) -> None:
        """Raises ProviderUnavailable while the circuit is open."""
        if self._failed < self._limit:
            return
        left = self._open_until - self._clock()
        if left > 0:
            raise ProviderUnavailable(f"the server failed {self._failed} times in a row; asked again in {left:.1f} s")
        self._open_until = self._clock() + self._pause  # one question tries; the others wait for its outcome

    def record(self, outcome: Outcome) -> None:
        """Count a question's outcome. A refusal is an answer: the server works."""
        if isinstance(outcome, ProviderUnavailable):
            self._failed += 1
            self._open_until = self._clock() + self._pause
        else:
            self._failed = 0


class HttpCalls:
    """Puts questions to one server. Safe to call from several threads."""

    def __init__(self, settings: KnowledgeSettings) -> None:
        self._deadline_seconds = settings.question_deadline_seconds
        self._wait = wait_random_exponential(settings.retry_initial_seconds, settings.retry_max_seconds)
        self._slots = asyncio.Semaphore(settings.max_concurrent_questions)
        self._breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_pause_seconds)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True)
        self._thread.start()

    def ask_all(self, questions: list[Callable[[], Awaitable[Completion]]]) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) of every question as it comes; closing the iterator cancels the rest."""
        outcomes: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        tasks = [self._submit(self._ask_in_turn(ask)) for ask in questions]
        for index, task in enumerate(tasks):
            task.add_done_callback(partial(_hand_over, outcomes, index))
        try:
            for _ in questions:
                yield outcomes.get()
        finally:
            for task in tasks:
                task.cancel()

    def run(self, work: Coroutine[Any, Any, T], timeout_seconds: float) -> T:
        """The result of one coroutine on the loop. Raises ProviderError, whatever went wrong."""
        try:
            return self._submit(asyncio.wait_for(work, timeout_seconds)).result()
        except Exception as error:
            raise translate(error) from error

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

    async def _ask_in_turn(self, ask: Callable[[], Awaitable[Completion]]) -> Outcome:
        async with self._slots:
            return await self._outcome(ask)

    async def _outcome(self, ask: Callable[[], Awaitable[Completion]]) -> Outcome:
        try:
            self._breaker.enter()
        except ProviderUnavailable as error:
            return error
        outcome = await self._ask_until_deadline(ask)
        self._breaker.record(outcome)
        return outcome

    async def _ask_until_deadline(self, ask: Callable[[], Awaitable[Completion]]) -> Outcome:
        last: list[ProviderError] = []
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._retrying(last)(ask)
        except TimeoutError:
            said = f"; it said last: {last[-1]}" if last else ""
            return ProviderUnavailable(f"no answer within {self._deadline_seconds:g} s{said}")
        except Exception as error:
            return translate(error)

    def _retrying(self, last: list[ProviderError]) -> AsyncRetrying:
        def is_worth_a_retry(error: BaseException) -> bool:
            if not isinstance(error, Exception):
                return False
            last.append(translate(error))
            malformed = sum(isinstance(said.__cause__, MALFORMED) for said in last)
            return is_retried(error) and malformed <= MALFORMED_RETRIES

        return AsyncRetrying(wait=self._wait, retry=retry_if_exception(is_worth_a_retry), reraise=True)


def _hand_over(outcomes: queue.SimpleQueue[tuple[int, Outcome]], index: int, task: Future[Outcome]) -> None:
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
    while error is not None:  # text generation errors carry the response in their cause
        if isinstance(error, HfHubHTTPError):
            return int(error.response.status_code)
        error = error.__cause__
    return None
