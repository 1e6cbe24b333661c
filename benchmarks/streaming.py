"""How fast does the line enrich a stream of items, and how soon is an item rankable?

    python -m benchmarks.streaming                  # about half an hour on two cores
    python -m benchmarks.streaming --quick          # smaller numbers, to see that it runs

Starts broker, knowledge, embedding, features and updater as real processes on free ports. The language model is a stub
that answers at once with 40 to 190 words (benchmarks/language_model_stub.py), but for the part that asks the embedded
model. What is compared is measured in turn in every round, so that a busy moment of the machine meets all of it; the
tables give medians over the rounds.

An item counts as rankable when features.Watch delivers its content, as enriched when it delivers its augmented vector:
that is what ranking's item cache follows. Times run from when an item was due to be handed to the producer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import streaming_measures as measures
from benchmarks.machine import describe_machine
from benchmarks.queue_memory import queued_megabytes
from benchmarks.streaming_line import Line, films, running_line
from benchmarks.streaming_measures import EncoderRate, Throughput
from services.embedding.encoder import Encoder
from services.embedding.encoder_export import exported_encoder

PARTS = ("throughput", "rankable", "interactions", "enriched", "memory")
QUICK = {"rounds": 1, "items": 60, "seconds": 3.0, "interactions": 400, "embedded_items": 2, "queued": 5_000}
UPDATERS = (1, 2)
UNDER_WAY, HANGING = "knowledge under way", "language model hangs"


@dataclass
class Results:
    """What every round came to."""

    lines: dict[int, list[Throughput]] = field(default_factory=lambda: defaultdict(list))  # by number of updaters
    encoder: list[EncoderRate] = field(default_factory=list)
    rankable: dict[tuple[str, float], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    interactions: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    arguments, before = _arguments(), os.getloadavg()[0]
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        with running_line(Path(folder) / "stub", "tgi", _variables(arguments)) as line:
            _warm(line)
            for number in range(arguments.rounds):
                _round(line, results, number, arguments)
        enriched = _enriched(Path(folder) / "embedded", arguments)
    megabytes = queued_megabytes(arguments.queued) if "memory" in arguments.parts else None
    print(describe_machine())
    print(f"load average {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end; {arguments.rounds} rounds\n")
    print("\n".join(_table(["what", "measured"], _rows(results, enriched, megabytes, arguments))))
    if results.lines:
        print("\nProcessor time an item, ms (medians), with one updater and with two\n")
        print("\n".join(_table(["process", *map(str, UPDATERS)], _cpu_rows(results))))


def _round(line: Line, results: Results, number: int, arguments: argparse.Namespace) -> None:
    if "throughput" in arguments.parts:
        _one_and_two_updaters(line, results, number, arguments)
    if "interactions" in arguments.parts:
        results.interactions.append(measures.interactions_per_second(line, f"r{number}", arguments.interactions))
        _say(number, f"{results.interactions[-1]:,.0f} interactions/s")
    if "rankable" in arguments.parts:
        _rates(line, results, number, arguments)


def _one_and_two_updaters(line: Line, results: Results, number: int, arguments: argparse.Namespace) -> None:
    results.lines[1].append(measures.throughput(line, f"one-{number}", arguments.items))
    encoder = Encoder(exported_encoder("all-MiniLM-L6-v2"), threads=arguments.threads)
    results.encoder.append(measures.encoder_alone(encoder, measures.stored_texts(line, f"one-{number}")))
    with line.another_updater():
        results.lines[2].append(measures.throughput(line, f"two-{number}", arguments.items))
    one, two, alone = results.lines[1][-1], results.lines[2][-1], results.encoder[-1]
    _say(number, f"{one.knowledge:.1f} items/s, encoder alone {alone.texts:.1f}, two updaters {two.knowledge:.1f}")


def _rates(line: Line, results: Results, number: int, arguments: argparse.Namespace) -> None:
    """The hanging model last: a circuit that it opens would let knowledge rest for a while."""
    _rates_while(UNDER_WAY, line, results, number, arguments)
    with measures.hanging_language_model(line):
        _rates_while(HANGING, line, results, number, arguments)
    line.wait_until_committed("items", "updater-knowledge", measures.WAIT_SECONDS)


def _rates_while(state: str, line: Line, results: Results, number: int, arguments: argparse.Namespace) -> None:
    for rate in arguments.rates:
        prefix = f"{'h' if state == HANGING else 'u'}{number}-{rate:g}"
        found = measures.percentiles(measures.seconds_to_rankable(line, prefix, rate, arguments.seconds))
        results.rankable[state, rate].append(found)
        _say(number, f"{rate:g} items/s, {state}: rankable after {found[0]:.3f} s p50, {found[1]:.3f} s p99")


def _enriched(home: Path, arguments: argparse.Namespace) -> list[float]:
    if "enriched" not in arguments.parts:
        return []
    with running_line(home, "embedded", {}) as line:
        measures.seconds_to_enriched(line, "warm", 1)  # loads the model
        return measures.seconds_to_enriched(line, "embedded", arguments.embedded_items)


def _warm(line: Line) -> None:
    line.publish(films("warm", 20))
    line.arrivals.wait(line.arrivals.knowledge, [item.item_id for item in films("warm", 20)], measures.WAIT_SECONDS)
    measures.interactions_per_second(line, "warm", 100)


def _variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Users' preferences are left out: they would ask the same language model while interactions are measured."""
    return {
        "LORELINE_EMBEDDING_THREADS": str(arguments.threads),
        "LORELINE_UPDATER_KNOWLEDGE_BATCH_RECORDS": str(arguments.batch_records),
        "LORELINE_UPDATER_KNOWLEDGE_WORKERS": str(arguments.workers),
        "LORELINE_UPDATER_SESSION_TIMEOUT_SECONDS": "6",
        "LORELINE_UPDATER_PREFERENCE_MINIMUM_INTERACTIONS": "1000000",
        "LORELINE_UPDATER_MAX_RETRY_BACKOFF_SECONDS": "1",
    }


def _rows(
    results: Results, enriched: Sequence[float], megabytes: float | None, arguments: argparse.Namespace
) -> Iterator[list[str]]:
    if results.lines:
        yield from _throughput_rows(results, arguments)
    for (state, rate), found in results.rankable.items():
        p50, p99 = (statistics.median(values) for values in zip(*found, strict=True))
        yield [f"rankable at {rate:g} items/s, {state}", f"p50 {p50:.3f} s, p99 {p99:.3f} s"]
    if results.interactions:
        yield ["interactions in the histories", f"{_spread(results.interactions)} events/s"]
    if enriched:
        shown = f"{enriched[0]:.1f} s, {statistics.median(enriched):.1f} s, {enriched[-1]:.1f} s"
        yield [f"{len(enriched)} items at once enriched by the embedded model: first, median, last", shown]
    if megabytes is not None:
        yield [f"memory of a million queued events, extrapolated from {arguments.queued:,}", f"{megabytes:,.0f} MiB"]


def _throughput_rows(results: Results, arguments: argparse.Namespace) -> Iterator[list[str]]:
    one, two, alone = results.lines[1], results.lines[2], results.encoder
    tokens = statistics.median(rate.tokens_per_text for rate in alone)
    yield [f"the encoder alone on the same texts, {arguments.threads} threads",
           f"{_spread([rate.texts for rate in alone])} texts/s of {tokens:.0f} tokens"]  # fmt: skip
    yield ["publish to knowledge stored", f"{_spread([rate.knowledge for rate in one])} items/s"]
    yield ["**of the encoder alone**", f"**{_ratio(one, [rate.texts for rate in alone]):.2f}**"]
    yield ["publish to content stored, knowledge under way", f"{_spread([rate.content for rate in one])} items/s"]
    yield ["two updaters: publish to knowledge stored", f"{_spread([rate.knowledge for rate in two])} items/s"]
    yield ["**of one updater**", f"**{_ratio(two, [rate.knowledge for rate in one]):.2f}**"]


def _cpu_rows(results: Results) -> Iterator[list[str]]:
    columns = [results.lines[number] for number in UPDATERS]
    for name in columns[0][0].cpu_ms:
        yield [name, *(f"{statistics.median(rate.cpu_ms[name] for rate in found):.1f}" for found in columns)]


def _ratio(found: Sequence[Throughput], base: Sequence[float]) -> float:
    return statistics.median(rate.knowledge / other for rate, other in zip(found, base, strict=True))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _say(number: int, text: str) -> None:
    print(f"round {number + 1}: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=1000, help="published at once in each measurement of throughput")
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 200, 500], help="items a second")
    parser.add_argument("--seconds", type=float, default=15, help="how long each rate is kept up")
    parser.add_argument("--interactions", type=int, default=20_000)
    parser.add_argument("--embedded-items", type=int, default=24)
    parser.add_argument("--queued", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the encoder")
    parser.add_argument("--batch-records", type=int, default=32, help="of the updater's knowledge stage")
    parser.add_argument("--workers", type=int, default=2, help="of the updater's knowledge stage")
    parser.add_argument("--quick", action="store_true", help="small numbers, whatever else is given")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    return arguments


if __name__ == "__main__":
    main()
