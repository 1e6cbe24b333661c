"""The measurements of benchmarks/ranking.py on a platform that runs already; what is compared takes turns."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks import ranking_floor
from benchmarks.load_driver import Result
from benchmarks.quiet import Usage, wait_until_quiet
from benchmarks.ranking_platform import IN_PROCESS, SIZES, TRITON, Platform, say
from benchmarks.ranking_processes import Target, on_cores
from loreline.ranking.v1 import ranking_pb2

Value = TypeVar("Value")
HOP = "one bare gRPC hop"
OFF = f"{IN_PROCESS}, knowledge off"
WARM = 2  # calls of each block that are not counted
CLIENTS = (1, 8, 64)
BUSY_CLIENTS = 16  # enough to keep two processes busy
SHARES = (0.5, 0.8, 1.5, 4.0)  # of the capacity
DEADLINE_SECONDS = 1.0
ONE_ON_ONE, ONE_ON_TWO, TWO_ON_TWO = "1 process on 1 core", "1 process on 2 cores", "2 processes on 2 cores"


@dataclass(frozen=True)
class Scale:
    """How much is measured, and how long to wait before each round for others to be quiet."""

    rounds: int
    calls: int  # of each target in a round, one after the other
    seconds: float  # of each load that lasts
    patience_seconds: float

    def in_rounds(self, what: str) -> Iterator[int]:
        """Numbers of the rounds; says after each how many cores others used meanwhile."""
        for number in range(self.rounds):
            wait_until_quiet(self.patience_seconds)
            usage = Usage.now()
            yield number
            say(f"{what}, round {number + 1}: others used {usage.others_cores():.2f} cores")


@dataclass
class Latency:
    """Rank of one serial client: each round's median milliseconds by target and candidates, and the floor's parts.

    `cpu_ms` is processor time a call of Rank(200) in each round, of all the processes that work for it.
    """

    p50: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    p95: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peak: list[float] = field(default_factory=list)
    lookups: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    flops: dict[int, float] = field(default_factory=dict)

    def floors(self, candidates: int) -> list[float]:
        """Milliseconds of each round: the network at the machine's peak, one hop, the lookups."""
        model = [self.flops[candidates] / peak * 1000 for peak in self.peak]
        parts = zip(model, self.p50[HOP, candidates], self.lookups[candidates], strict=True)
        return [sum(of_round) for of_round in parts]


@dataclass(frozen=True)
class Throughput:
    """A closed load: what came of it, and processor milliseconds an answer of all processes that work for it."""

    result: Result
    cpu_ms: float


@dataclass
class Overload:
    """Open loads by their share of the capacity, and the capacities themselves, answers a second."""

    capacity: list[float] = field(default_factory=list)
    results: dict[float, list[Result]] = field(default_factory=lambda: defaultdict(list))


def latency(platform: Platform, targets: Sequence[Target], scale: Scale) -> Latency:
    """One serial client, every target in turn in every round."""
    found, lookups = Latency(), platform.lookups()
    found.flops = {size: ranking_floor.flops(platform.registry, size) for size in SIZES}
    for number in scale.in_rounds("latency"):
        found.peak.append(ranking_floor.peak_flops())
        for size in SIZES:
            ids = [f"i{place}" for place in range(size)]
            found.lookups[size].append(statistics.median(lookups.milliseconds(ids) for _ in range(scale.calls)))
            for target in _rotated(targets, number):
                for knowledge in _rotated((True, False) if target.name == IN_PROCESS else (True,), number):
                    _measure(platform, target, size, knowledge, scale, found)
        say(", ".join(_last(found, [target.name for target in targets])))
    return found


def clients(platform: Platform, targets: Sequence[Target], scale: Scale) -> dict[tuple[str, int], list[Throughput]]:
    """1, 8 and 64 clients that each wait for their answers."""
    found = defaultdict(list)
    for _ in scale.in_rounds("clients"):
        for target in targets:
            for count in CLIENTS:
                one = throughput(platform, target, count, scale.seconds)
                found[target.name, count].append(one)
                say(f"{target.name}, {count} clients: {one.result.rate:.0f} answers/s")
    return found


def processes(platform: Platform, one: Target, two: Target, scale: Scale) -> dict[str, list[Throughput]]:
    """One and two processes of ours, on one and on two cores, with all that they need and their clients on the same."""
    found = defaultdict(list)
    for _ in scale.in_rounds("processes"):
        with on_cores([*one.pids, platform.generator.pid], {0}):
            found[ONE_ON_ONE].append(throughput(platform, one, BUSY_CLIENTS, scale.seconds))
        found[ONE_ON_TWO].append(throughput(platform, one, BUSY_CLIENTS, scale.seconds))
        found[TWO_ON_TWO].append(throughput(platform, two, BUSY_CLIENTS, scale.seconds))
        say(", ".join(f"{name}: {loads[-1].result.rate:.0f} answers/s" for name, loads in found.items()))
    return found


def overload(platform: Platform, target: Target, scale: Scale) -> Overload:
    """Open loads at shares of the capacity that was measured just before in the same round."""
    found = Overload()
    for _ in scale.in_rounds("overload"):
        found.capacity.append(throughput(platform, target, BUSY_CLIENTS, scale.seconds).result.rate)
        for share in SHARES:
            load = {"rate": share * found.capacity[-1], "seconds": scale.seconds, "timeout_seconds": DEADLINE_SECONDS}
            result = platform.load(target, 200, **load)
            found.results[share].append(result)
            say(f"{share:.0%} of {found.capacity[-1]:.0f}/s: {result.outcomes}, p99 {result.percentile(99):.0f} ms")
    return found


def throughput(platform: Platform, target: Target, count: int, seconds: float) -> Throughput:
    """Rank(200) by so many clients."""
    platform.load(target, 200, clients=count, calls=2)
    before = target.cpu_seconds()
    result = platform.load(target, 200, clients=count, seconds=seconds)
    return Throughput(result, (target.cpu_seconds() - before) * 1000 / max(1, result.answered))


def ratios(found: Latency, name: str, other: str, candidates: int) -> list[float]:
    """One target's median by another's, of each round; the other may be the floor."""
    base = found.floors(candidates) if other == "floor" else found.p50[other, candidates]
    return [one / of_other for one, of_other in zip(found.p50[name, candidates], base, strict=True)]


def triton_adds(found: Latency, candidates: int) -> list[float]:
    """Milliseconds of each round that scoring in Triton takes longer than in-process."""
    pairs = zip(found.p50[TRITON, candidates], found.p50[IN_PROCESS, candidates], strict=True)
    return [triton - ours for triton, ours in pairs]


def _rotated(values: Sequence[Value], number: int) -> Sequence[Value]:
    """Another one first in each round: what ran before leaves the caches to what comes next."""
    start = number % len(values)
    return [*values[start:], *values[:start]]


def _measure(platform: Platform, target: Target, size: int, knowledge: bool, scale: Scale, found: Latency) -> None:
    name, before = target.name if knowledge else OFF, target.cpu_seconds()
    result = platform.load(target, size, calls=scale.calls, warm=WARM, use_knowledge=knowledge)
    if size == 200:
        found.cpu_ms[name].append((target.cpu_seconds() - before) * 1000 / (scale.calls + WARM))
    _note(found, name, size, result)


def _note(found: Latency, name: str, size: int, result: Result) -> None:
    if result.answered != result.calls:
        raise SystemExit(f"{name} did not answer all calls: {result.outcomes}")
    found.p50[name, size].append(result.percentile(50))
    found.p95[name, size].append(result.percentile(95))
    if (name, size) == (IN_PROCESS, 200):
        timings = ranking_pb2.RankResponse.FromString(result.answer).timings
        for stage, milliseconds in timings.ListFields():
            found.stages[stage.name.removesuffix("_ms")].append(milliseconds)


def _last(found: Latency, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield f"{name} {found.p50[name, 200][-1]:.2f} ms"
