"""A language model server that goes wrong on demand: the first part of the path selects how.

`/ok/...` answers; `/503/...` answers with that status; `/slow`, `/garbage`, `/missing`, `/cut`, `/empty`, `/length`,
`/looping` and `/echoing` as they say; `/503x2/...` goes wrong twice and then answers; `/switch/...` goes wrong as
`FaultStub.go_wrong` last said. Speaks TGI's /generate and /info, and OpenAI's /chat/completions and /models, with the
statuses and error bodies of their published contracts.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXTS = {
    "ok": "A slow, tender story about two strangers who share a compartment and talk until the morning comes.",
    "empty": "",
    "length": "A slow, tender story about two strangers who share a compartment and talk until dawn. And then",
    "echoing": "system: You know cinema well and write notes for a film recommender.",
    "looping": "It is about love and loss and love " + "and loss and love " * 5,
}
ERRORS = {  # as TGI's contract has them
    "422": ("Input validation error", "validation"),
    "424": ("Request failed during generation", "generation"),
    "429": ("Model is overloaded", "overloaded"),
    "500": ("Incomplete generation", "incomplete_generation"),
    "503": ("unhealthy", "healthcheck"),
}
TOO_LONG = {
    "422long": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1525",
    "400long": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
}
BODIES = {"garbage": b"<html>bad gateway</html>", "missing": b"{}"}


class FaultStub(ThreadingHTTPServer):
    """Keeps the request bodies and headers, the calls of each mode, and the most calls that ran at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.calls: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.reads: Counter[str] = Counter()
        self.answered = 0
        self.info: dict[str, Any] = {"model_id": "stub/model-7b"}
        self.models: dict[str, Any] = {"object": "list", "data": [{"id": "model-7b", "object": "model"}]}
        self.hang_seconds = 30.0
        self._mode, self._times = "ok", 0
        self.running = self.most_running = 0
        self.lock, self.released = threading.Lock(), threading.Event()

    def go_wrong(self, mode: str, times: int) -> None:
        """The next calls of `/switch` go wrong so many times, then it answers."""
        with self.lock:
            self._mode, self._times = mode, times

    def next_mode(self) -> str:
        """How the next call of `/switch` goes; call it with the lock held."""
        self._times -= 1
        return self._mode if self._times >= 0 else "ok"

    def url(self, mode: str) -> str:
        """Base address of a mode."""
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}"


class _Handler(BaseHTTPRequestHandler):
    server: FaultStub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        mode, path = self.path.strip("/").split("/", 1)
        with self.server.lock:
            self.server.reads[f"{mode}/{path}"] += 1
        failing = mode.isdecimal() and path in {"health", "v1/models"}
        told = self.server.models if path.endswith("models") else self.server.info
        self._send(int(mode) if failing else 200, json.dumps(told).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.strip("/").split("/")[0]
        mode, _, failures = name.partition("x")
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.tokens.append(self.headers.get("Authorization", ""))
            self.server.calls[name] += 1
            self.server.times[name].append(time.monotonic())
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
            goes_wrong = not failures or self.server.calls[name] <= int(failures)
            mode = self.server.next_mode() if mode == "switch" else mode
        if mode == "slow" and goes_wrong:
            self.server.released.wait(self.server.hang_seconds)
        if mode == "pausing":
            threading.Event().wait(0.05)
        with self.server.lock:
            self.server.running -= 1
        self._answer(mode if goes_wrong else "ok")

    def _answer(self, mode: str) -> None:
        if mode.isdecimal():
            error, kind = ERRORS.get(mode, ("said the server", "stub"))
            self._send(int(mode), b"" if mode == "401" else json.dumps({"error": error, "error_type": kind}).encode())
        elif mode in TOO_LONG:
            told = {"error": TOO_LONG[mode], "error_type": "validation"}
            self._send(int(mode[:3]), json.dumps(told).encode())
        elif mode == "cut":
            self._send(200, json.dumps(_generated("ok")).encode(), cut=40)
        else:
            chat = self.path.endswith("/chat/completions")
            with self.server.lock:
                self.server.answered += mode == "ok"
            self._send(200, BODIES.get(mode) or json.dumps(_chat(mode) if chat else _generated(mode)).encode())

    def _send(self, status: int, body: bytes, cut: int = 0) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - cut])
        except ConnectionError:
            pass  # the client gave up


def _generated(mode: str) -> dict[str, Any]:
    reason = "length" if mode == "length" else "eos_token"
    details = {"finish_reason": reason, "generated_tokens": 23, "prefill": [{"id": 1, "text": "x"}] * 40, "tokens": []}
    return {"generated_text": TEXTS.get(mode, TEXTS["ok"]), "details": details}


def _chat(mode: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXTS.get(mode, TEXTS["ok"])}
    choice = {"index": 0, "message": message, "finish_reason": "length" if mode == "length" else "stop"}
    usage = {"prompt_tokens": 40, "completion_tokens": 23, "total_tokens": 63}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


@contextmanager
def fault_stub() -> Iterator[FaultStub]:
    """A running stub on a free port."""
    with FaultStub() as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield stub
        stub.released.set()
        stub.shutdown()
        thread.join()
