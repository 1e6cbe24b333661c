"""clients/python/README.md: its examples run, against a real server; what it says of the installation holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranking_stub import RankingStub, serve

import loreline.client

README = Path(__file__).resolve().parents[3] / "clients" / "python" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
EXTRAS = {
    "torch",
    "feast",
    "pandas",
    "pyarrow",
    "onnxruntime",
    "kafka",
    "tritonclient",
    "transformers",
    "jinja2",
    "rich",
}


@pytest.fixture
def address() -> Iterator[str]:
    with serve(RankingStub()) as serving:
        yield serving


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example: str, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands there, but for the address; all but the one that handles errors print something."""
    assert "127.0.0.1:50055" in example
    exec(compile(example.replace("127.0.0.1:50055", address), "README", "exec"), {"__name__": "README"})
    assert bool(capsys.readouterr().out) != ("error.violations" in example)


def test_examples_were_found() -> None:
    """The test above may not pass by having nothing to run."""
    assert len(EXAMPLES) >= 6


def test_every_error_class_is_in_the_table() -> None:
    """And no other."""
    errors = {name for name in loreline.client.__all__ if name.endswith("Error")}
    assert set(re.findall(r"^\| `(\w+Error)`", README.read_text(encoding="utf-8"), flags=re.MULTILINE)) == errors


def test_the_client_needs_no_package_of_an_extra() -> None:
    """The distribution without extras is enough."""
    program = f"import sys, loreline.client; sys.exit(str(sorted({EXTRAS!r} & set(sys.modules))))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert imported.stderr.strip() == "[]"
