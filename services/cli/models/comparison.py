"""`loreline models compare`: how the versions that rank beside each other do, of the metrics of ranking processes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from services.cli.output import NotReady

PREFIX = "loreline_ranking"
TIMEOUT_SECONDS = 5.0
SMALLEST_SHARE = 1e-4  # of a bin, so that an empty one does not make the index infinite
Key = tuple[str, str]  # assignment and model version
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]  # by name and labels


@dataclass(frozen=True)
class Group:
    """The lists of one assignment and version. `drift` is the population stability index against `compared_with`.

    Below 0.1 the scores are spread alike; above 0.25 they are not. Times in milliseconds; None without any request.
    """

    assignment: str
    model_version: str
    requests: int
    mean_score: float | None
    p50_ms: float | None
    p99_ms: float | None
    compared_with: str = ""
    drift: float | None = None
    mean_difference: float | None = None


@dataclass(frozen=True)
class ShadowAgreement:
    """What the shadow made of the same requests; means over `compared`, None without any."""

    compared: int
    dropped: int
    failed: int
    rank_correlation: float | None
    top_overlap: float | None
    score_difference: float | None


@dataclass(frozen=True)
class Comparison:
    """All groups, the active version's first, and the shadow's agreement."""

    groups: list[Group]
    shadow: ShadowAgreement


def read_metrics(addresses: Sequence[str]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The processes' samples, added up. Raises NotReady when one does not answer."""
    total: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
    for address in addresses:
        for family in text_string_to_metric_families(_fetch(address)):
            for sample in family.samples:
                total[sample.name, frozenset(sample.labels.items())] += sample.value
    return dict(total)


def compare(samples: Samples) -> Comparison:
    """The comparison that samples of ranking's metrics hold."""
    keys = sorted({_key(labels) for name, labels in samples if name == f"{PREFIX}_assigned_requests_total"})
    keys.sort(key=lambda key: key[0] != "active")
    return Comparison([_group(samples, key, keys) for key in keys], _shadow(samples))


def _fetch(address: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_SECONDS) as response:
            body: bytes = response.read()
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise NotReady(
            f"ranking's metrics at {address} cannot be read: {error}. LORELINE_RANKING_METRICS_ADDRESS is where the "
            "process serves them, LORELINE_CLI_RANKING_METRICS_ADDRESS where this command looks"
        ) from error
    return body.decode()


def _group(samples: Samples, key: Key, keys: Sequence[Key]) -> Group:
    base = _base(samples, key, keys)
    scores, times = _bins(samples, "scores", key), _bins(samples, "request_seconds", key)
    mean = _mean(samples, "scores", key)
    base_mean = _mean(samples, "scores", base) if base else None
    return Group(
        *key,
        requests=int(_value(samples, "assigned_requests_total", key)),
        mean_score=mean,
        p50_ms=_quantile(times, 0.5),
        p99_ms=_quantile(times, 0.99),
        compared_with=f"{base[0]} {base[1]}" if base else "",
        drift=stability_index(_bins(samples, "scores", base), scores) if base else None,
        mean_difference=mean - base_mean if mean is not None and base_mean is not None else None,
    )


def _base(samples: Samples, key: Key, keys: Sequence[Key]) -> Key | None:
    """What a group is compared with: the shadow with the same requests' served scores, others with the active one."""
    if key[0] == "shadow":
        names = {_key(labels) for name, labels in samples if name == f"{PREFIX}_scores_count"}
        return next((name for name in sorted(names) if name[0] == "shadowed"), None)
    if key[0] not in ("canary", "knowledge-off"):
        return None
    actives = [other for other in keys if other[0] == "active"]
    if key[0] == "knowledge-off":
        return next((other for other in actives if other[1] == key[1]), None)
    return max(actives, key=lambda other: _value(samples, "assigned_requests_total", other), default=None)


def _shadow(samples: Samples) -> ShadowAgreement:
    outcomes = {
        outcome: int(samples.get((f"{PREFIX}_shadow_requests_total", frozenset({("outcome", outcome)})), 0))
        for outcome in ("compared", "dropped", "failed")
    }

    def mean(name: str) -> float | None:
        count = samples.get((f"{PREFIX}_shadow_{name}_count", frozenset()), 0)
        return samples[f"{PREFIX}_shadow_{name}_sum", frozenset()] / count if count else None

    return ShadowAgreement(**outcomes, rank_correlation=mean("rank_correlation"), top_overlap=mean("top_overlap"),
                           score_difference=mean("score_difference"))  # fmt: skip


def stability_index(one: Mapping[float, float], other: Mapping[float, float]) -> float | None:
    """Population stability index, sum (p - q) ln(p / q), of counts by upper edge; None where one has no counts."""
    if not (sum(one.values()) and sum(other.values())):
        return None
    edges = sorted(one.keys() | other.keys())
    p, q = (np.array([bins.get(edge, 0.0) for edge in edges]) for bins in (one, other))
    p, q = (np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (p, q))
    return float(((p - q) * np.log(p / q)).sum())


def _bins(samples: Samples, name: str, key: Key | None) -> dict[float, float]:
    """Counts by upper edge, not cumulative."""
    found = {
        float(dict(labels)["le"]): value
        for (sample, labels), value in samples.items()
        if sample == f"{PREFIX}_{name}_bucket" and _key(labels) == key
    }
    edges = sorted(found)
    return {edge: found[edge] - before for edge, before in zip(edges, [0.0, *[found[e] for e in edges]], strict=False)}


def _quantile(bins: Mapping[float, float], share: float) -> float | None:
    """Milliseconds below which a share of the seconds lies, linear within a bin; the last edge where it is beyond."""
    wanted, total = share * sum(bins.values()), 0.0
    if not wanted:
        return None
    for low, high in pairwise([0.0, *sorted(bins)]):
        if total + bins[high] >= wanted:
            edge = low if np.isinf(high) else low + (high - low) * (wanted - total) / bins[high]
            return edge * 1000
        total += bins[high]
    return None


def _mean(samples: Samples, name: str, key: Key) -> float | None:
    count = _value(samples, f"{name}_count", key)
    return _value(samples, f"{name}_sum", key) / count if count else None


def _value(samples: Samples, name: str, key: Key) -> float:
    labels = frozenset({("assignment", key[0]), ("model_version", key[1])})
    return samples.get((f"{PREFIX}_{name}", labels), 0.0)


def _key(labels: Iterable[tuple[str, str]]) -> Key:
    named = dict(labels)
    return named.get("assignment", ""), named.get("model_version", "")
