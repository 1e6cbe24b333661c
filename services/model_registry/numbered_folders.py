"""Folders named 1, 2, 3, ... that several processes add to, each whole or not at all."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


def is_number(name: str) -> bool:
    """Whether such a folder can have this name."""
    return re.fullmatch("[1-9][0-9]{0,17}", name) is not None


def numbers(parent: Path) -> list[str]:
    """The names of the folders in `parent` that hold a manifest.json, in their order; whatever else is there is not."""
    found = [path.parent.name for path in parent.glob("*/manifest.json")]
    return sorted(filter(is_number, found), key=int)


def move_in(files: Path, parent: Path, number: str, manifest_of: Callable[[str], str]) -> str:
    """Move the folder `files` into `parent` as `number`, or as the next one that nobody has taken; returns which.

    `manifest_of` gives the text of its manifest.json under that number. The rename is atomic: readers see the folder
    with everything in it, and of two processes that want one number the second gets the next. `files` must lie on the
    same file system. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    files.chmod(0o755)  # a scratch folder is its owner's alone, and other users' processes read what is in it
    while True:
        (files / "manifest.json").write_text(manifest_of(number), encoding="utf-8")
        try:
            files.rename(parent / number)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            number = str(int(number) + 1)
        else:
            return number
