"""A server that speaks Text Generation Inference's /generate, /info and /health, and answers at once.

    python -m benchmarks.language_model_stub --port 8080

It takes the language model's time out of a measurement. Answers are sentences drawn by the prompt's hash, so that each
question has an answer of its own, of a length of its own, that passes the text checks.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ("slow", "warm", "tense", "bright", "dark", "playful", "quiet", "bitter", "tender", "restless", "dry", "bold")
SENTENCES = (
    "Its {} opening gives way to a {} second hour about friends who part.",
    "Viewers who like {} scenes and honest faces will stay with this {} family to the end.",
    "The camera follows strangers on a train with a {} patience that critics called {}.",
    "Music carries more of the {} mood than words do, and the score turns {} near the close.",
    "The humour comes late and stays {}, never {}.",
    "A town in winter is shown in {} colours that suit the {} dialogue.",
    "Old rivals meet again by the river, in the most {} and least {} part of the plot.",
    "Those who want action, not {} talk, should look for a more {} picture.",
    "Its workers on strike are drawn with a {} eye and a {} heart.",
    "Promises kept too late give the ending a {} weight under its {} surface.",
    "Children may find the middle too {}, while parents will enjoy how {} it becomes.",
    "Actors speak little here; their {} looks say what a {} script leaves out.",
    "It rewards a second viewing, which seems less {} and far more {} than the first.",
)
LEAST_SENTENCES, MOST_SENTENCES = 3, 13
INFO = {
    "model_id": "stub", "max_concurrent_requests": 128, "max_input_tokens": 4096, "max_total_tokens": 8192,
    "max_best_of": 2, "max_stop_sequences": 4, "max_client_batch_size": 4, "validation_workers": 2, "router": "stub",
    "version": "3.3.6",
}  # fmt: skip


def answer_to(prompt: str) -> str:
    """The answer: always the same to one prompt."""
    draw = random.Random(zlib.crc32(prompt.encode()))
    said = draw.sample(SENTENCES, draw.randint(LEAST_SENTENCES, MOST_SENTENCES))
    return " ".join(sentence.format(draw.choice(WORDS), draw.choice(WORDS)) for sentence in said)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(INFO if self.path == "/info" else {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = answer_to(asked["inputs"])
        tokens = len(text.split())
        details = {"finish_reason": "eos_token", "generated_tokens": tokens, "prefill": [], "tokens": [],
                   "seed": None, "input_length": len(asked["inputs"].split())}  # fmt: skip
        self._answer({"generated_text": text, "details": details})

    def _answer(self, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), _Handler).serve_forever()


if __name__ == "__main__":
    main()
