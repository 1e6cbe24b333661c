"""A real Triton Inference Server without a container, for tests and trials on Linux.

    python -m deploy.triton.local_server --model-repository triton-models --grpc-port 8001

The server binary comes out of a wheel and is installed into an environment of its own in the cache. It carries only
the Python backend, so render the repository with `--backend python`. New versions are picked up within a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from deploy.python_environments import InstallFailed, installed

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
EXECUTABLE = 0o755
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerFailed(Exception):
    """The server ended, or was not ready in time."""


def install() -> Path:
    """The server's environment, made on first use; a second process waits for the first. Raises InstallFailed."""
    return installed("triton", REQUIREMENTS, "about 450 MB", lambda made: _complete_backend(server_folder(made)))


def server_folder(environment: Path) -> Path:
    """Where the wheel put the server."""
    return next(environment.glob("lib/python3*/site-packages/pytriton/tritonserver"))


def command(
    environment: Path, model_repository: Path, http_port: int, grpc_port: int, metrics_port: int, explicit: bool = False
) -> list[str]:
    """The server's command line; it listens on 127.0.0.1 and polls the repository every second.

    An `explicit` one loads `scorer` at its start, and anew when it is told to.
    """
    server = server_folder(environment)
    control = ["explicit", "--load-model=scorer"] if explicit else ["poll", "--repository-poll-secs=1"]
    ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
    return [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={model_repository.absolute()}",
        f"--backend-directory={server / 'backends'}",
        f"--model-control-mode={control[0]}",
        control[1],
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=5",
        *[f"--{name}-port={port}" for name, port in ports.items()],
        *[f"--{name}-address=127.0.0.1" for name in ports],
    ]


def server_environment(environment: Path) -> dict[str, str]:
    """Variables by which the server's stub finds one Python, and only that one."""
    search = f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PATH": search, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}


def wait_until_ready(address: str, server: subprocess.Popen[bytes], seconds: float = START_SECONDS) -> None:
    """Return once the server answers that it and its models are ready. Raises ServerFailed."""
    deadline = time.monotonic() + seconds
    client = triton.InferenceServerClient(address)
    try:
        while not _is_ready(client):
            if server.poll() is not None:
                raise ServerFailed(f"Triton ended with code {server.returncode}; its log says why")
            if time.monotonic() > deadline:
                raise ServerFailed(f"Triton was not ready within {seconds:.0f} s")
            time.sleep(0.1)
    finally:
        client.close()


def start(line: Sequence[str], environment: Path, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start the server, with whatever it starts in a process group of its own; `output` takes what it says."""
    variables = server_environment(environment)
    return subprocess.Popen(line, env=variables, stdout=output, stderr=output and subprocess.STDOUT, process_group=0)


def stop(server: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> int:
    """End the server, by force when it takes longer than `seconds`, and what it leaves; returns its exit code."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(seconds)
    return kill(server)


def kill(server: subprocess.Popen[bytes]) -> int:
    """End the server by force, and the stubs of the Python backend, which outlive it; returns its exit code."""
    with suppress(ProcessLookupError):  # there is nobody left
        os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def _is_ready(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=1))
    except InferenceServerException:
        return False


def _complete_backend(server: Path) -> None:
    """The wheel keeps the stub of each Python version apart, and not executable."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    shutil.copyfile(server / "python_backend_stubs" / version / "triton_python_backend_stub", stub)
    for path in (stub, server / "bin" / "tritonserver"):
        path.chmod(EXECUTABLE)


def serve(line: Sequence[str], environment: Path, address: str) -> None:
    """Run the server until it ends or this process is told to. Raises ServerFailed."""
    server = start(line, environment)
    try:
        wait_until_ready(address, server)
        sys.stdout.write(f"Triton is ready at {address}\n")
        sys.stdout.flush()
        while server.poll() is None:  # a signal that comes before a wait without end begins is not seen until it ends
            time.sleep(0.2)
        raise ServerFailed(f"Triton ended with code {server.returncode}; its log says why")
    finally:
        stop(server)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: install if needed, then serve until SIGTERM or SIGINT; exits with code 1 when it cannot."""
    given = _arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # leaves by way of what stops the children
    try:
        environment = install()
        if given.install_only:
            sys.stdout.write(f"{environment}\n")
            return
        line = command(environment, given.model_repository, given.http_port, given.grpc_port, given.metrics_port)
        serve(line, environment, f"127.0.0.1:{given.grpc_port}")
    except (InstallFailed, ServerFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a real Triton Inference Server without a container.")
    parser.add_argument("--install-only", action="store_true", help="make the server's environment and end")
    parser.add_argument("--model-repository", type=Path, help="a folder rendered with --backend python")
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)
    given = parser.parse_args(arguments)
    if not given.install_only and not (given.model_repository and given.model_repository.is_dir()):
        parser.error("--model-repository: must be a folder that deploy.triton.render has written")
    return given


if __name__ == "__main__":
    main()
