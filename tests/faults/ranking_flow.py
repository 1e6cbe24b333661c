"""Features and ranking in real processes, a small catalogue, and what each list must be."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from loreline.client import FeaturesClient, OverloadedError, Ranked, RankingClient
from loreline.domain import Item, Stamp
from services.cli.local_processes import LocalProcesses, free_port
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.model_registry import ModelRegistry
from services.scenarios import load_scenario
from tests.model_versions import AUGMENTED, HISTORY, expected_scores, register_version, vocabulary
from tests.waiting import LONG_SECONDS

START = datetime(2026, 1, 1, tzinfo=UTC)
GENRES = ("Comedy", "Drama", "Horror", "Western")
WRITES_AT_ONCE = 1000  # the limit of one call
USER = "nobody"  # without history: the lists depend on the items alone


@dataclass
class Shop:
    """Running features and ranking processes with version 1 active, and the items as they are stored."""

    processes: LocalProcesses
    registry: ModelRegistry
    features: FeaturesClient
    ranking: RankingClient
    metrics_address: str
    items: dict[str, Item] = field(default_factory=dict)
    writes: int = 0

    def put(self, *items: Item) -> None:
        """Store items' newest content."""
        self.writes += 1
        stamp = Stamp(f"event-{self.writes}", START + timedelta(seconds=self.writes))
        assert set(self.features.put_contents([(stamp, item) for item in items])) == {"APPLIED"}
        self.items |= {item.item_id: item for item in items}

    def expected(self, item_ids: Sequence[str], version: str = "1") -> dict[str, float]:
        """The score that each item must get."""
        scenario, words = load_scenario("movies"), vocabulary()
        fields = [words.field_indices(scenario.field_values(self.items[item_id])) for item_id in item_ids]
        count = len(item_ids)
        inputs = {
            "item_id": np.array([[words.item_index(item_id) for item_id in item_ids]]),
            "item_fields": np.array([fields]),
            "item_augmented": np.zeros((1, count, AUGMENTED)),
            "history_item_id": np.zeros((1, HISTORY), dtype=np.int64),
            "history_fields": np.zeros((1, HISTORY, 2), dtype=np.int64),
            "history_rating": np.zeros((1, HISTORY)),
            "user_augmented": np.zeros((1, AUGMENTED)),
        }
        return dict(zip(item_ids, expected_scores(int(version), inputs)[0].tolist(), strict=True))

    def check(self, ranked: Ranked, item_ids: Sequence[str]) -> None:
        """The list is right: each item's score is the version's, best first, none is missing."""
        expected = self.expected(item_ids, ranked.model_version)
        assert sorted(ranked.item_ids) == sorted(item_ids)
        np.testing.assert_allclose(ranked.scores, [expected[item_id] for item_id in ranked.item_ids], atol=1e-5)
        assert list(ranked.scores) == sorted(ranked.scores, reverse=True)

    @retry(
        retry=retry_if_exception_type(OverloadedError),
        wait=wait_fixed(0.02),
        stop=stop_after_delay(LONG_SECONDS),
        reraise=True,
    )
    def rank(self, item_ids: Sequence[str]) -> Ranked:
        """Rank, and check the list. Told to come again, as by a machine that others keep busy, it comes again."""
        ranked = self.ranking.rank(USER, "movies", list(item_ids))
        self.check(ranked, item_ids)
        return ranked

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric of the ranking process that have the labels."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=100) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def memory_bytes(self) -> int:
        """Resident memory of the ranking process."""
        return int(psutil.Process(self.processes.status("ranking").pid).memory_info().rss)

    def kill(self, name: str) -> None:
        """End a process without a word."""
        pid = self.processes.status(name).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def revive(self, name: str) -> None:
        """Start it again, and wait until it is ready."""
        self.processes.start(name)
        self.processes.wait_until(name, lambda status: status.ready)


@contextmanager
def running_shop(home: Path, count: int = 60, **variables: str) -> Iterator[Shop]:
    """The processes over an empty home with `count` items; `variables` as LORELINE_NAME."""
    settings = CliSettings(home=home, preferred_ports=False)
    registry = ModelRegistry(settings.model_registry)
    if registry.active() is None:
        register_version(registry, promote=True)
    metrics_address = f"127.0.0.1:{free_port(0)}"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"RANKING_METRICS_ADDRESS": metrics_address, **variables}.items():
            environment.setenv(f"LORELINE_{name}", value)
        processes = start_processes(settings, ("features", "ranking"), show=False)
        try:
            with (
                FeaturesClient(processes.address("features"), timeout_seconds=100) as features,
                RankingClient(processes.address("ranking"), timeout_seconds=100) as ranking,
            ):
                shop = Shop(processes, registry, features, ranking, metrics_address)
                for start in range(0, count, WRITES_AT_ONCE):
                    shop.put(
                        *[film(f"i{number}", number) for number in range(start, min(count, start + WRITES_AT_ONCE))]
                    )
                yield shop
        finally:
            list(processes.stop())


def film(item_id: str, number: int) -> Item:
    """A film whose genre and decade follow from a number."""
    return Item(item_id, "movies", f"Film {item_id}", {"genres": [GENRES[number % 4]], "year": 1980.0 + number % 20})
