"""The updater as a process: a stage that is dead must not look alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_stage_whose_thread_dies_ends_the_process(broker: str, unique_name: str) -> None:
    """With a code and words for whoever starts it again; the stages that live leave their groups first."""
    nowhere = "127.0.0.1:1"
    own = {"BOOTSTRAP_SERVERS": broker, "LISTEN_ADDRESS": "127.0.0.1:0", "CONSUMER_GROUP": unique_name}
    own |= {f"{name}_ADDRESS": nowhere for name in ("KNOWLEDGE", "EMBEDDING", "FEATURES")}
    environment = os.environ | {f"LORELINE_UPDATER_{name}": value for name, value in own.items()}
    command = [sys.executable, str(Path(__file__).with_name("dying_updater.py"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "a bug" in done.stdout + done.stderr
    assert "stopped" in done.stdout + done.stderr
