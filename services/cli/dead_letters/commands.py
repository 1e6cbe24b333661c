"""`loreline dlq ...`: looks at dead letters, sends them again, or gives them up for good."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from services.cli import output
from services.cli.dead_letters.actions import DeadLetterBox, Skipped, Tally
from services.cli.dead_letters.letters import DeadLetter, Filters, Resolution, place_of
from services.cli.dead_letters.views import Listed, listed, print_letter, shown
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings
from services.cli.times import MOMENT, moment

SHOWN_SKIPPED = 20
dlq_app = typer.Typer(help="Look at dead letters, send them again, or give them up for good.", no_args_is_help=True)

ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="Only of this reason; may be repeated.")]
StageOption = Annotated[str, typer.Option("--stage", help="Only of this stage of the updater.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only with this key: the item's or user's id.")]
TopicOption = Annotated[str, typer.Option("--topic", help="Only of records that came from this topic.")]
SinceOption = Annotated[str, typer.Option("--since", help=f"Only given up at or after this moment: {MOMENT}.")]
UntilOption = Annotated[str, typer.Option("--until", help="Only given up before this moment.")]
AtOption = Annotated[
    list[str] | None, typer.Option("--at", help="PARTITION:OFFSET of one letter, as listed; may be repeated.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Also letters that were replayed or discarded already.")]
MostOption = Annotated[int, typer.Option("--most", min=0, help="Only the first so many, oldest first; 0: all.")]
EverythingOption = Annotated[bool, typer.Option("--everything", help="Must be given where no filter is.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than one letter is touched.")]


@dlq_app.command("list")
def list_letters(
    reason: ReasonOption = None,
    stage: StageOption = "",
    key: KeyOption = None,
    topic: TopicOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    at: AtOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Show only the newest so many; all are counted.")] = 20,
    all_: AllOption = False,
    json_output: JsonOption = False,
) -> None:
    """List the open dead letters, newest first, and count all of them by reason.

    Example: loreline dlq list --reason INVALID --since 2h
    """
    with exit_codes():
        box = _box(_filters(reason, stage, key, topic, since, until, at), all_)
        reasons: Counter[str] = Counter()
        newest = heapq.nlargest(most, _counted(box.letters(), reasons), key=lambda one: (one.time, one.at))
        if json_output:
            output.print_json({"total": reasons.total(), "reasons": dict(reasons.most_common()), "letters": newest})
            return
        _print_list(newest, reasons)


@dlq_app.command("show")
def show(
    reason: ReasonOption = None,
    stage: StageOption = "",
    key: KeyOption = None,
    topic: TopicOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    at: AtOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Show only the oldest so many.")] = 3,
    all_: AllOption = False,
    json_output: JsonOption = False,
) -> None:
    """Show dead letters whole: why they died, their own headers, and what is in them.

    A value that is an event is shown as JSON, any other as its first bytes; --json holds all bytes in base64.
    A letter that --at names is shown even if it was replayed or discarded.

    Example: loreline dlq show --at 0:12
    """
    with exit_codes():
        box = _box(_filters(reason, stage, key, topic, since, until, at), all_ or bool(at), most)
        found = list(box.letters())
        if at and not found:
            raise BadInput(f"--at: there is no such dead letter: {', '.join(at)}")
        if json_output:
            output.print_json([shown(letter, resolution) for letter, resolution in found])
            return
        for letter, resolution in found:
            print_letter(letter, resolution)
        if not found:
            output.console.print("no dead letter matches")


@dlq_app.command("replay")
def replay(
    reason: ReasonOption = None,
    stage: StageOption = "",
    key: KeyOption = None,
    topic: TopicOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    at: AtOption = None,
    most: MostOption = 0,
    all_: AllOption = False,
    everything: EverythingOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    json_output: JsonOption = False,
) -> None:
    """Send dead letters to the topics that they came from, and note them as replayed.

    Key, value and the record's own headers are as they were. Handling an event twice changes nothing. A letter whose
    cause still holds becomes a new dead letter: repair the cause first, and try one with --most 1.

    Example: loreline dlq replay --reason MISSING_CONTENT
    """
    with exit_codes():
        chosen = _filters(reason, stage, key, topic, since, until, at)
        box = _box(_refuse_unfiltered(chosen, everything or most > 0), all_, most)
        skipped: list[Skipped] = []

        def act(tally: Tally, progress: Callable[[int], None]) -> int:
            done, refused = box.replay(tally, progress)
            skipped.extend(refused)
            return done

        _act(box, act, skipped, "replayed", "Send them again", dry_run, yes, json_output)


@dlq_app.command("discard")
def discard(
    reason: ReasonOption = None,
    stage: StageOption = "",
    key: KeyOption = None,
    topic: TopicOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    at: AtOption = None,
    most: MostOption = 0,
    everything: EverythingOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    json_output: JsonOption = False,
) -> None:
    """Note dead letters as discarded: they are not listed any more. Kafka keeps them until its retention ends.

    Example: loreline dlq discard --reason UNPARSABLE --until 2026-03-01
    """
    with exit_codes():
        chosen = _filters(reason, stage, key, topic, since, until, at)
        box = _box(_refuse_unfiltered(chosen, everything or most > 0), False, most)
        _act(box, box.discard, [], "discarded", "Discard them", dry_run, yes, json_output)


def _filters(
    reason: list[str] | None, stage: str, key: str | None, topic: str, since: str, until: str, at: list[str] | None
) -> Filters:
    return Filters(
        reasons=frozenset(word.upper() for word in reason or []),
        stage=stage,
        key=key,
        topic=topic,
        since=moment("--since", since),
        until=moment("--until", until),
        at=frozenset(place_of(text) for text in at or []),
    )


def _box(filters: Filters, resolved_too: bool, most: int = 0) -> DeadLetterBox:
    settings = CliSettings()
    return DeadLetterBox(settings, LocalProcesses(settings).address("broker"), filters, resolved_too, most)


def _refuse_unfiltered(filters: Filters, meant: bool) -> Filters:
    if filters == Filters() and not meant:
        raise BadInput("no filter is given: choose letters with --reason, --at, --since ..., or give --everything")
    return filters


def _counted(letters: Iterable[tuple[DeadLetter, Resolution | None]], reasons: Counter[str]) -> Iterable[Listed]:
    for letter, resolution in letters:
        reasons[letter.note("reason") or "unknown"] += 1
        yield listed(letter, resolution)


def _print_list(newest: list[Listed], reasons: Counter[str]) -> None:
    if not newest:
        output.console.print("no dead letter matches; --all also lists those that were replayed or discarded")
        return
    columns = ["at", "given up (UTC)", "reason", "stage", "key", "tries", "detail"]
    resolved = any(letter.resolution for letter in newest)
    rows = [letter.row(resolved) for letter in newest]
    output.print_table("Dead letters, newest first", columns + ["became"] * resolved, rows)
    output.print_table("By reason", ["reason", "letters"], reasons.most_common())
    if reasons.total() > len(newest):
        output.console.print(f"{reasons.total() - len(newest):,} older ones are not shown: --most {reasons.total()}")
    output.console.print("next: `loreline dlq show --at AT`, then `dlq replay` or `dlq discard`", highlight=False)


def _act(
    box: DeadLetterBox,
    act: Callable[[Tally, Callable[[int], None]], int],
    skipped: list[Skipped],
    done_word: str,
    question: str,
    dry_run: bool,
    yes: bool,
    json_output: bool,
) -> None:
    tally = box.tally()
    if box.filters.at and not tally.total:
        raise BadInput("--at: there is no such open dead letter: `loreline dlq list --all` shows what became of it")
    done = 0
    if not dry_run and tally.total:
        _ask(tally, question, yes, json_output)
        with progress_bar(not json_output) as bar:
            task = bar.add_task(done_word, total=tally.total)
            done = act(tally, lambda count: bar.advance(task, count))
    if json_output:
        output.print_json(
            {"matched": tally.total, "reasons": dict(tally.reasons.most_common()), done_word: done, "skipped": skipped}
        )
    else:
        _print_outcome(tally, done, done_word, skipped, dry_run)
    if skipped:
        raise typer.Exit(1)


def _ask(tally: Tally, question: str, yes: bool, json_output: bool) -> None:
    if yes or tally.total == 1:
        return
    if json_output:
        raise BadInput(f"--yes: must be given beside --json, since {tally.total} letters match")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.reasons.most_common())
    typer.confirm(f"{tally.total:,} dead letters match ({reasons}). {question}?", abort=True, err=True)


def _print_outcome(tally: Tally, done: int, done_word: str, skipped: list[Skipped], dry_run: bool) -> None:
    if not tally.total:
        output.console.print("no dead letter matches: nothing was done")
    elif dry_run:
        output.print_table("Would be " + done_word, ["reason", "letters"], tally.reasons.most_common())
    else:
        output.console.print(f"{done:,} of {tally.total:,} dead letters were {done_word}", highlight=False)
    if skipped:
        rows = [(one.at, one.why) for one in skipped[:SHOWN_SKIPPED]]
        output.print_table(f"{len(skipped):,} cannot be sent", ["at", "why"], rows)
