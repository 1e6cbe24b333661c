"""The hash by which a manifest binds its files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hex; read in pieces, since a language model's may be as large as memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
