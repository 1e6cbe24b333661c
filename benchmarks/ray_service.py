"""The plain path hosted by Ray Serve: python -m benchmarks.ray_service --port P --replicas N, in Ray's environment."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.plain_path import FOLDER_VARIABLE, with_onnx

READY = "the replicas are ready"  # /-/healthz answers before they are


@serve.deployment(ray_actor_options={"num_cpus": 1})
class PlainRanking:
    """POST /rank with user_id and candidates; answers item_ids and scores, best first."""

    def __init__(self, folder: str) -> None:
        self._path = with_onnx(Path(folder))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Rank the candidates for the user."""
        asked = await request.json()
        item_ids, scores = self._path.rank(asked["user_id"], asked["candidates"])
        return {"item_ids": item_ids, "scores": scores}


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replicas", type=int, default=1)
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ray.init(address="local", num_cpus=given.replicas, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": given.port}, logging_config={"enable_access_log": False})
    deployment = PlainRanking.options(num_replicas=given.replicas, max_ongoing_requests=100)
    serve.run(deployment.bind(os.environ[FOLDER_VARIABLE]), route_prefix="/rank")
    print(READY, flush=True)
    while not stop.wait(0.5):  # Python sees a signal that another thread took when the main thread wakes up
        pass
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
