"""`loreline knowledge rebuild`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from loreline.client import EmbeddingClient, FeaturesClient
from services.cli import output
from services.cli.knowledge.commands import Subject
from services.cli.knowledge.conditions import FIELDS, Condition, parse_condition
from services.cli.knowledge.jobs import JobFile, Standing
from services.cli.knowledge.rebuilding import Matching, Rebuild, wait_until_rebuilt
from services.cli.knowledge.reencoding import Reencoding, misfit, present_encoder
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, NotReady, exit_codes
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry

EVERYTHING = Condition("", lambda _: True)
TIMEOUT_SECONDS = 300.0


def rebuild(
    where: Annotated[str, typer.Option(help=f"Which knowledge. Fields: {', '.join(FIELDS)}.")] = "",
    scenario: Annotated[str, typer.Option("--scenario", "-s", help="Only of this scenario.")] = "",
    subject: Annotated[
        Subject | None, typer.Option("--subject", help="Items (the default) or users; --vectors: both by default.")
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Encode stored texts with the present encoder; ask no language model.")
    ] = False,
    per_second: Annotated[float, typer.Option(min=0.01, help="Ask about at most so many in a second.")] = 50.0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when no stored knowledge matches any more.")] = False,
    patience_seconds: Annotated[
        float, typer.Option(min=1, help="--wait: give up when the number that matches stays the same for so long.")
    ] = 300.0,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin anew instead of going on where the job was broken off.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what matches.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Ask anew for the knowledge of items or users whose stored knowledge matches, through the running line.

    Each item's own event is published again: its content stays, and its text is replaced when the new one has come. An
    answer that is kept for the very same prompt, model and parameters is taken again and not paid for. A job that was
    broken off, by Ctrl-C too, goes on when the same command is given again.

    Examples: loreline knowledge rebuild --where "prompt_version<3 and model!=template" --scenario movies

    loreline knowledge rebuild --where "knowledge=none or created_time<2026-01-01" --dry-run

    loreline knowledge rebuild --vectors
    """
    with exit_codes():
        condition = parse_condition(where) if where or not vectors else EVERYTHING
        if vectors and wait:
            raise BadInput("--wait: has no use beside --vectors, which stores every vector itself")
        settings = CliSettings()
        with FeaturesClient(LocalProcesses(settings).address("features"), TIMEOUT_SECONDS) as features:
            if vectors:
                _reencode(settings, features, condition, scenario, subject, dry_run, json_output)
                return
            matching = Matching(subject.value if subject else "item", condition, scenario)
            asking = _Asking(settings, features, matching, per_second, json_output)
            asking.run(from_start, dry_run, patience_seconds if wait else None)


@dataclass(frozen=True)
class _Outcome:
    """What a run did. `remaining` is None where nobody waited."""

    subject: str
    where: str
    scenario: str
    matched: int
    published: int
    resumed_after: str
    remaining: int | None = None


@dataclass(frozen=True)
class _Asking:
    settings: CliSettings
    features: FeaturesClient
    matching: Matching
    per_second: float
    json_output: bool

    def run(self, from_start: bool, dry_run: bool, patience_seconds: float | None) -> None:
        matching, settings = self.matching, self.settings
        job = JobFile(settings.home / "rebuild", matching.subject, matching.condition.text, matching.scenario)
        standing = Standing() if from_start else job.read()
        if standing.after_id:
            self._say(f"going on after {matching.subject} {standing.after_id!r}; {standing.published:,} are done")
        matched = self._count(standing)
        more = "more " if standing.after_id else ""
        self._say(f"{matched:,} {more}{matching.subject}s match{self._how_long(matched) if matched else ''}")
        published = 0 if dry_run else self._publish(job, standing, matched)
        waited = patience_seconds is not None and not dry_run
        remaining = self._wait(patience_seconds or 0) if waited else None
        words = (matching.subject, matching.condition.text, matching.scenario)
        self._report(_Outcome(*words, matched, published, standing.after_id, remaining))

    def _count(self, standing: Standing) -> int:
        with progress_bar(not self.json_output) as bar:
            task = bar.add_task("counting", total=None)
            return self.matching.count(self.features, standing.after_id, lambda n: bar.advance(task, n))

    def _publish(self, job: JobFile, standing: Standing, matched: int) -> int:
        kind = "items" if self.matching.subject == "item" else "interactions"
        topic = str(getattr(self.settings, f"{kind}_topic"))
        servers = LocalProcesses(self.settings).address("broker")
        run = Rebuild(self.matching, self.features, servers, topic, job, self.per_second, standing)
        with _saying_how_to_go_on(run), progress_bar(not self.json_output) as bar:
            task = bar.add_task("published", total=matched)
            return run.run(lambda count: bar.advance(task, count))

    def _wait(self, patience_seconds: float) -> int:
        with progress_bar(not self.json_output) as bar:
            task = bar.add_task("rebuilt", total=None)

            def on_look(left: int) -> None:
                total = max(left, int(bar.tasks[0].total or 0))
                bar.update(task, total=total, completed=total - left)

            return wait_until_rebuilt(self.matching, self.features, patience_seconds, on_look)

    def _how_long(self, matched: int) -> str:
        return f": publishing them takes about {_spoken(matched / self.per_second)}"

    def _say(self, words: str) -> None:
        if not self.json_output:
            output.console.print(words, highlight=False)

    def _report(self, outcome: _Outcome) -> None:
        if self.json_output:
            output.print_json(asdict(outcome))
        elif outcome.published:
            self._say(f"{outcome.published:,} were published; answers come as the language model gives them")
        if outcome.remaining:
            raise NotReady(
                f"{outcome.remaining:,} still match, and nothing moves: look at `loreline dlq list`, at the updater's "
                "metrics, and whether a new answer can differ from the condition at all"
            )
        if outcome.remaining == 0:
            self._say("no stored knowledge matches any more")


@contextmanager
def _saying_how_to_go_on(run: Rebuild) -> Iterator[None]:
    try:
        yield
    except BaseException:  # Ctrl-C too
        output.errors.print(f"{run.standing.published:,} are published; the same command goes on after them")
        raise


def _reencode(
    settings: CliSettings,
    features: FeaturesClient,
    condition: Condition,
    scenario: str,
    subject: Subject | None,
    dry_run: bool,
    json_output: bool,
) -> None:
    with EmbeddingClient(LocalProcesses(settings).address("embedding"), TIMEOUT_SECONDS) as embedding:
        encoder = present_encoder(embedding)
        unfit = misfit(ModelRegistry(settings.model_registry), encoder)
        job = Reencoding(features, embedding, encoder)
        kinds = [subject] if subject else list(Subject)
        matching = {kind: job.lacking(kind.value, condition, scenario) for kind in kinds}
        matched = {kind: found.count(features) for kind, found in matching.items()}
        done: dict[Subject, Counter[str]] = {}
        with progress_bar(not json_output) as bar:
            for kind in kinds if not dry_run else []:
                task = bar.add_task(f"{kind.value}s: text to vector", total=matched[kind])
                done[kind] = job.run(matching[kind], lambda count, task=task: bar.advance(task, count))  # type: ignore[misc]
    if json_output:
        outcomes = {f"{kind.value}s": dict(counts) for kind, counts in done.items()}
        counts = {f"{kind.value}s": count for kind, count in matched.items()}
        output.print_json({"encoder": encoder, "matched": counts, "outcomes": outcomes, "unfit_version": unfit})
        return
    rows = [(f"{k.value}s", matched[k], done[k]["APPLIED"] if k in done else None) for k in kinds]
    output.print_table(f"Texts whose vectors are not of {encoder}", ["of", "matched", "encoded anew"], rows)
    if unfit and any(matched.values()):
        output.console.print(
            f"the active version {unfit} was trained on another encoder: what is encoded anew is ranked on its content "
            "until a version of this encoder is promoted (`loreline train`, then `loreline models promote VERSION`)",
            style="yellow",
        )


def _spoken(seconds: float) -> str:
    for name, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"
