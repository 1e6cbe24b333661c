"""The least that Rank can take on this machine: the network at the processor's peak, one bare gRPC hop, the lookups."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.model_version import KNOWLEDGE_WIDTH
from services.ctr.batch import RankingBatch
from services.model_registry import ModelRegistry
from services.ranking.feast_redis import entity_key, field_names
from services.scenarios import load_scenario
from services.trainer.training.config import read_config
from services.trainer.training.networks import build_knowledge_augmented

PEAK_SIZES = (256, 512, 1024)
PEAK_SECONDS = 0.1  # of each size, in each round


def flops(registry: ModelRegistry, candidates: int) -> float:
    """Floating-point operations of the matrix products of version 1's network, as exported, for so many candidates."""
    config, manifest = read_config("din"), registry.manifest("1")
    vocabulary, scenario = registry.vocabulary("1"), load_scenario("movies")
    network = build_knowledge_augmented(config, vocabulary, scenario, KNOWLEDGE_WIDTH).eval()
    length, fields, width = manifest.history_length, len(manifest.item_fields), manifest.augmented_dimension
    index = torch.ones((1, candidates), dtype=torch.long), torch.ones((1, candidates, fields), dtype=torch.long)
    past = torch.ones((1, length), dtype=torch.long), torch.ones((1, length, fields), dtype=torch.long)
    batch = RankingBatch(*index, torch.ones(1, candidates, width), *past, torch.ones(1, length), torch.ones(1, width))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.backbone(batch)
    return float(counter.get_total_flops())


def peak_flops() -> float:
    """Operations a second of the best float32 matrix product of one thread, by NumPy's or PyTorch's library."""
    best, threads = 0.0, torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for size in PEAK_SIZES:
            one = np.ones((size, size), dtype=np.float32)
            other = torch.ones(size, size)
            seconds = min(_best(lambda one=one: one @ one), _best(lambda other=other: other @ other))
            best = max(best, 2 * size**3 / seconds)
    torch.set_num_threads(threads)
    return best


@dataclass(frozen=True)
class Lookups:
    """A read of one user's hash from Redis by a bare socket, and of the candidates' rows from arrays in memory."""

    connection: socket.socket
    command: bytes
    rows: dict[str, int]
    vectors: np.ndarray

    @classmethod
    def of(cls, redis: str, vectors: np.ndarray) -> Lookups:
        """Over an open Redis that holds user u0; `vectors` (items, A) are those of i0, i1, ..."""
        host, _, port = redis.rpartition(":")
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command = _redis_command([b"HMGET", entity_key("user_id", "u0"), *field_names("user_packed")])
        return cls(connection, command, {f"i{number}": number for number in range(len(vectors))}, vectors)

    def milliseconds(self, candidates: Sequence[str]) -> float:
        """How long both take once."""
        began = time.perf_counter()
        self.connection.sendall(self.command)
        self.connection.recv(1 << 16)
        self.vectors[[self.rows[item_id] for item_id in candidates]]
        return (time.perf_counter() - began) * 1000


def _best(product: Callable[[], object]) -> float:
    """The shortest of repeated runs, in seconds."""
    best, end = float("inf"), time.perf_counter() + PEAK_SECONDS
    while (began := time.perf_counter()) < end:
        product()
        best = min(best, time.perf_counter() - began)
    return best


def _redis_command(parts: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
