"""benchmarks/streaming.py runs from end to end on tiny numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.language_model_stub import answer_to
from services.knowledge.text_checks import accept_ready_made

ROOT = Path(__file__).resolve().parents[2]
LINES = (
    "the encoder alone",
    "publish to knowledge stored",
    "**of the encoder alone**",
    "two updaters",
    "rankable at 20 items/s, language model hangs",
    "rankable at 20 items/s, knowledge under way",
    "interactions in the histories",
    "memory of a million queued events",
    "| embedding |",
)


def test_the_stubs_answers_pass_the_text_checks() -> None:
    """Each question has its own answer, always the same; one that failed would be asked again and written anew."""
    answers = [answer_to(f"question {number}") for number in range(200)]
    assert answers == [answer_to(f"question {number}") for number in range(200)]
    assert len(set(answers)) == len(answers)
    for answer in answers:
        assert accept_ready_made(answer) == answer


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_benchmark_measures_everything_in_one_run() -> None:
    """Every figure but that of the embedded model, which has tests of its own that take long."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--quick", "--rates", "20"]
    parts = ["throughput", "rankable", "interactions", "memory"]
    done = subprocess.run(
        [*command, "--parts", *parts], cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in LINES:
        assert line in done.stdout
