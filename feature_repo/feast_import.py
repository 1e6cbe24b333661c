"""Imports Feast without two things that nobody here uses and that take three quarters of its start (12 s of CPU to 3).

Feast has its classes checked by typeguard at run time, which compiles their source anew at every import; and it
imports PyTorch wherever that is installed, for reads that return tensors. What imports Feast imports this first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typeguard


@contextmanager
def _bare_import() -> Iterator[None]:
    typechecked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    torch_was_absent = sys.modules.setdefault("torch", None) is None  # type: ignore[arg-type]  # its import fails then
    try:
        yield
    finally:
        typeguard.typechecked = typechecked
        if torch_was_absent:
            del sys.modules["torch"]


with _bare_import():
    import feast  # noqa: F401
