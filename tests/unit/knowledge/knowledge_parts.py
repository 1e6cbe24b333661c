"""Subjects, settings and a scripted provider that several tests of the knowledge service share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loreline.domain import HistoryEntry, Item, UserHistory
from services.knowledge.asking import Asker
from services.knowledge.budget import TokenBudget
from services.knowledge.metering import Meter
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import Prompt, PromptStyle
from services.knowledge.providers import Completion, Limits, Provider, ProviderOutcome, ProviderPool, build_provider
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore
from services.runtime.sqlite_file import SqliteFile

GOOD_TEXT = (
    "A slow, tender story about two strangers who share a train compartment and talk until the morning comes. "
    "It suits viewers who like dialogue more than action."
)
Script = Callable[[Prompt, int], ProviderOutcome]


def item(item_id: str = "1", title: str = "Night Train", **attributes: Any) -> Item:
    """An item of the shipped scenario."""
    return Item(item_id, "movies", title, attributes or {"genres": ["Drama", "Romance"], "year": 1994})


def user(user_id: str = "7", ratings: Sequence[float | None] = (5, 4, 2)) -> UserHistory:
    """A user who rated as many items as there are ratings."""
    items = [
        item("1", "Night Train", genres=["Drama", "Romance"], year=1994),
        item("2", "Long Harvest", genres=["Drama"], year=1987),
        item("3", "Loud Planet", genres=["Action"], year=1996),
    ]
    entries = [HistoryEntry(items[index % 3], rating) for index, rating in enumerate(ratings)]
    return UserHistory(user_id, entries, {"occupation": "librarian"})


def settings(**values: Any) -> KnowledgeSettings:
    """Settings that retry within milliseconds."""
    quick = {
        "listen_address": "127.0.0.1:0",
        "store_path": Path("unused"),
        "retry_initial_seconds": 0.01,
        "retry_max_seconds": 0.02,
        "request_timeout_seconds": 5,
        "question_deadline_seconds": 10,
        "max_new_tokens": 64,
    }
    return KnowledgeSettings(**(quick | values))


class ScriptedProvider:
    """Answers each question by a function of the prompt and the sample, and records what it was asked."""

    def __init__(self, script: Script, *, can_sample: bool = True, style: PromptStyle = PromptStyle.OPEN) -> None:
        self.can_sample, self.prompt_style = can_sample, style
        self.asked: list[tuple[str, int]] = []
        self.prompt_tokens: int | None = None
        self._script, self._lock = script, threading.Lock()

    def model(self) -> str:
        """One name for all."""
        return "scripted-1"

    def parameters(self, sample: int) -> Mapping[str, Any]:
        """The sample only."""
        return {"seed": sample}

    def generate(self, prompts: Sequence[Prompt], sample: int) -> Iterator[tuple[int, ProviderOutcome]]:
        """In reverse, because a caller must not rely on the order."""
        for index, prompt in reversed(list(enumerate(prompts))):
            with self._lock:
                self.asked.append((prompt.subject_id, sample))
            yield index, self._script(prompt, sample)

    def answers(self) -> bool:
        """Always."""
        return True

    def limits(self) -> Limits:
        """100 tokens an answer; a prompt may have as many as the test says."""
        return Limits(100, self.prompt_tokens)

    def is_paused(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Nothing to close."""


def asker_over(store: KnowledgeStore, metrics: KnowledgeMetrics | None = None, **budget: Any) -> Asker:
    """Asks and keeps suspects in the store; `budget` as TokenBudget takes it, none by default."""
    counted = metrics or KnowledgeMetrics()
    limits = {"total": None, "by_scenario": {}} | budget
    meter = Meter(TokenBudget(store.database, **limits), counted)
    return Asker(meter, SuspectStore(store.database), counted)


def unlimited_meter() -> Meter:
    """Counts, and holds nothing back."""
    return Meter(TokenBudget(SqliteFile(Path(":memory:"), "the knowledge store"), None, {}), KnowledgeMetrics())


def pool_of(scripted: Provider, *names: str) -> ProviderPool:
    """The scripted provider under its name, and real ones."""
    return ProviderPool(
        ["scripted", *names], lambda name: scripted if name == "scripted" else build_provider(name, settings())
    )


def good(_prompt: Prompt, _sample: int) -> ProviderOutcome:
    """A script that always answers well."""
    return Completion(GOOD_TEXT, 50, 31, "stop")
