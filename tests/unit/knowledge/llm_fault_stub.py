"""A language model server that goes wrong on demand: the first part of the path selects how.

`/ok/...` answers; `/503/...` answers with that status; `/slow`, `/garbage`, `/missing`, `/length` and `/looping` as
they say; `/503x2/...` goes wrong twice and then answers. Speaks TGI's /generate and OpenAI's /chat/completions.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXTS = {
    "ok": "A slow, tender story about two strangers who share a compartment and talk until the morning comes.",
    "length": "A slow, tender story about two strangers who share a compartment and talk until dawn. And then",
    "looping": "It is about love and loss and love " + "and loss and love " * 5,
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
        self.running = self.most_running = 0
        self.lock, self.released = threading.Lock(), threading.Event()

    def url(self, mode: str) -> str:
        """Base address of a mode."""
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}"


class _Handler(BaseHTTPRequestHandler):
    server: FaultStub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        mode, path = self.path.strip("/").split("/", 1)
        failing = mode.isdecimal() and path in {"health", "v1/models"}
        self._send(int(mode) if failing else 200, json.dumps({"model_id": "stub/model-7b"}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.strip("/").split("/")[0]
        mode, _, failures = name.partition("x")
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.tokens.append(self.headers.get("Authorization", ""))
            self.server.calls[name] += 1
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
            goes_wrong = not failures or self.server.calls[name] <= int(failures)
        if mode == "slow" and goes_wrong:
            self.server.released.wait(30)
        if mode == "pausing":
            threading.Event().wait(0.05)
        with self.server.lock:
            self.server.running -= 1
        self._answer(mode if goes_wrong else "ok")

    def _answer(self, mode: str) -> None:
        if mode.isdecimal():
            self._send(int(mode), b"" if mode == "401" else b'{"error": "said the server", "error_type": "stub"}')
        else:
            chat = self.path.endswith("/chat/completions")
            self._send(200, BODIES.get(mode) or json.dumps(_chat(mode) if chat else _generated(mode)).encode())

    def _send(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
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
