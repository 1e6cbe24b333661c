"""Python environments of their own in the cache, for servers whose packages must not lie beside ours."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from services.wheel_assets import cache_directory

LAST_WORDS = 800  # characters of pip's that an error repeats


class InstallFailed(Exception):
    """pip could not install the requirements; the message holds its last words."""


def installed(name: str, requirements: Path, takes: str, complete: Callable[[Path], None] = lambda _: None) -> Path:
    """The environment of a requirements file, made on first use; a second process waits for the first.

    `takes` says what that costs, `complete` finishes an environment. Raises InstallFailed.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    environment = cache_directory() / f"{name}-{digest}"
    environment.parent.mkdir(parents=True, exist_ok=True)
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            sys.stderr.write(f"installing {name} into {environment} (once, {takes})\n")
            _install(requirements, environment)
            complete(environment)
            (environment / "complete").touch()
    return environment


def _install(requirements: Path, environment: Path) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(requirements)])


def _run(arguments: Sequence[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallFailed(f"{' '.join(arguments[:5])} failed: {done.stderr.strip()[-LAST_WORDS:]}")
