"""Compares the contracts with those of the last commit that has any; fails when a change breaks a client.

The last commit is HEAD, or HEAD's parent when the working tree is clean: a commit is compared with the one before it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run `buf breaking`; returns its exit code. Without an earlier commit there is nothing to break."""
    changed = _git("status", "--porcelain", "--", "protos/loreline").stdout.strip()
    revision = "HEAD" if changed else "HEAD^"
    archive = _git("archive", "--format=zip", revision, "--", "buf.yaml", "protos")
    if archive.returncode != 0:
        sys.stdout.write(f"no contracts in {revision} to compare with\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
            files.extractall(folder)
        buf = Path(sys.executable).with_name("buf")
        return subprocess.run([buf, "breaking", "--against", folder], cwd=ROOT, check=False).returncode


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
