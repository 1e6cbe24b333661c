"""The tables of benchmarks/ranking.py: medians over the rounds with the lowest and the highest, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks import ranking_measures as measures
from benchmarks.load_driver import Result
from benchmarks.ranking_measures import HOP, OFF, ONE_ON_ONE, TWO_ON_TWO, Latency, Overload, Throughput
from benchmarks.ranking_memory import Recommended
from benchmarks.ranking_platform import IN_PROCESS, SIZES

PLAIN = "Feast to_dict + Triton"
LATENCY_COLUMNS = ("p95 ms (200)", "server CPU ms (200)", "of the floor (200)", "of plain (200)")
REFUSED, LATE = "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"


def latency(found: Latency, names: Sequence[str]) -> Iterator[str]:
    """Rank(50, 200, 1000) by one serial client, the ratios and the goals."""
    sizes = [f"Rank({size}) p50 ms" for size in SIZES]
    yield from _head(
        "Rank by one serial client",
        [*sizes, *LATENCY_COLUMNS],
    )
    yield _row(
        "floor: network at peak, one gRPC hop, lookups",
        *[_spread(found.floors(size)) for size in SIZES],
        "",
        "",
        "1",
        "",
    )
    for name in (HOP, names[0], OFF, *names[1:]):
        yield _row(name, *_latency_cells(found, name))
    yield from _floor_lines(found)
    yield from _goals(found, PLAIN in names)


def clients(found: dict[tuple[str, int], list[Throughput]]) -> Iterator[str]:
    """Rank(200) by 1, 8 and 64 clients."""
    columns = ["clients", "answers/s", "p50 ms", "p99 ms", "refused", "CPU ms an answer", "of which clients'"]
    yield from _head("Rank(200), two processes each", columns)
    for (name, count), loads in found.items():
        yield _row(name, str(count), *_load_cells(loads))


def processes(found: dict[str, list[Throughput]]) -> Iterator[str]:
    """Rank(200) by one and by two processes."""
    columns = ["answers/s", "p50 ms", "p99 ms", "refused", "CPU ms an answer", "of which clients'"]
    yield from _head(f"Rank(200), {measures.BUSY_CLIENTS} clients on the same cores", columns)
    for name, loads in found.items():
        yield _row(name, *_load_cells(loads))
    for name in list(found)[:-1]:
        pairs = zip(found[TWO_ON_TWO], found[name], strict=True)
        goal = " (goal: at least 1.8)" if name == ONE_ON_ONE else ""
        yield f"{TWO_ON_TWO} against {name}: {_spread([two.result.rate / one.result.rate for two, one in pairs])}{goal}"


def overload(found: Overload) -> Iterator[str]:
    """Rank(200) under open loads."""
    columns = ["calls/s", "answers/s", "p50 ms", "p99 ms", "refused", "too late", "begun late, p99 ms", "clients' CPU"]
    yield from _head(f"Rank(200), one process, open load, deadline {measures.DEADLINE_SECONDS:g} s", columns)
    for share, results in found.results.items():
        yield _row(f"{share:.0%} of the capacity", *_overload_cells(results))
    yield f"capacity, {measures.BUSY_CLIENTS} clients that wait: {_spread(found.capacity)} answers/s"


def memory(found: dict[int, float], items: int) -> Iterator[str]:
    """The item cache."""
    yield from _head(f"Item cache of {items:,} items", ["bytes an item", "MiB"])
    for versions, size in found.items():
        yield _row(f"vectors of {versions} model version(s)", f"{size:.0f}", f"{size * items / 2**20:,.0f}")


def recommend(found: Recommended, items: int) -> Iterator[str]:
    """Recommend over a whole catalogue."""
    index, stages = found.index, found.stages
    yield from _head(f"Recommend over {items:,} items", ["measured"])
    built = f"{index['build_seconds']:.0f} s, {index['build_cpu_seconds']:.0f} s of CPU"
    yield _row("index built alone", f"{built}, {index['bytes']:.0f} bytes a vector")
    yield _row("search of the 100 nearest, one query", f"{index['search_ms']:.2f} ms, recall {index['recall']:.3f}")
    yield _row("ranking process, start to ready", f"{found.ready_seconds:.0f} s, {found.rss_bytes / 2**20:,.0f} MiB")
    for count, result in found.loads.items():
        yield _row(
            f"Recommend(20), {count} client(s)", f"{result.rate:.0f}/s, {_times(result)}, {_refused([result])} refused"
        )
    yield f"stages of one, ms: {', '.join(f'{name} {value:.1f}' for name, value in stages.items())}"


def _latency_cells(found: Latency, name: str) -> Iterator[str]:
    yield from (_spread(found.p50[name, size]) for size in SIZES)
    yield f"{statistics.median(found.p95[name, 200]):.2f}"
    cpu = found.cpu_ms.get(name)  # clocked in ticks of 10 ms, so the mean over the rounds
    yield f"{statistics.mean(cpu):.2f}" if cpu else ""
    yield f"{statistics.median(measures.ratios(found, name, 'floor', 200)):.2f}"
    plain = (PLAIN, 200) in found.p50
    yield f"{statistics.median(measures.ratios(found, name, PLAIN, 200)):.3f}" if plain else ""


def _floor_lines(found: Latency) -> Iterator[str]:
    peak, count = statistics.median(found.peak), found.flops[200]
    model, lookups = count / peak * 1000, statistics.median(found.lookups[200])
    yield f"floor (200): {count / 1e6:.0f} MFLOP at {peak / 1e9:.0f} GFLOP/s: {model:.2f} ms; " + (
        f"hop {statistics.median(found.p50[HOP, 200]):.2f} ms; lookups {lookups:.2f} ms"
    )
    stages = {name: statistics.median(values) for name, values in found.stages.items()}
    yield f"in-process (200), as the service timed it, ms: {', '.join(f'{n} {v:.2f}' for n, v in stages.items())}"


def _goals(found: Latency, with_plain: bool) -> Iterator[str]:
    yield f"in-process against the floor: {_spread(measures.ratios(found, IN_PROCESS, 'floor', 200))} (goal: at most 2)"
    if with_plain:
        yield f"plain against in-process: {_spread(measures.ratios(found, PLAIN, IN_PROCESS, 200))} (goal: at least 7)"
    yield f"Triton adds {_spread(measures.triton_adds(found, 200))} ms (goal: at most 1.5)"
    yield f"knowledge on against off: {_spread(measures.ratios(found, IN_PROCESS, OFF, 200), 3)} (goal: at most 1.05)"


def _load_cells(loads: Sequence[Throughput]) -> Iterator[str]:
    results = [load.result for load in loads]
    yield _spread([result.rate for result in results], 0)
    yield from (f"{statistics.median(result.percentile(percent) for result in results):.1f}" for percent in (50, 99))
    yield _refused(results)
    own = [result.cpu_seconds * 1000 / max(1, result.answered) for result in results]
    yield f"{statistics.median(load.cpu_ms + of_client for load, of_client in zip(loads, own, strict=True)):.2f}"
    yield f"{statistics.median(own):.2f}"


def _overload_cells(results: Sequence[Result]) -> Iterator[str]:
    yield f"{statistics.median(result.calls / result.seconds for result in results):.0f}"
    yield _spread([result.rate for result in results], 0)
    for percent in (50, 99):
        yield _spread([result.percentile(percent) for result in results], 0 if percent == 99 else 1)
    yield _refused(results)
    yield f"{statistics.median(result.share(LATE) for result in results):.1%}"
    yield f"{statistics.median(result.late_ms for result in results):.0f}"
    yield f"{statistics.median(result.cpu_seconds / result.seconds for result in results):.0%}"


def _refused(results: Sequence[Result]) -> str:
    return f"{statistics.median(result.share(REFUSED) for result in results):.1%}"


def _times(result: Result) -> str:
    return f"p50 {result.percentile(50):.1f} ms, p99 {result.percentile(99):.1f} ms"


def _spread(values: Sequence[float], digits: int = 2) -> str:
    middle, lowest, highest = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({lowest:,.{digits}f} to {highest:,.{digits}f})"


def _head(first: str, columns: Sequence[str]) -> Iterator[str]:
    yield ""
    yield _row(first, *columns)
    yield f"|{' --- |' * (1 + len(columns))}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
