"""Serves Rank over gRPC by the plain path with Triton, or answers requests with their own bytes: one bare hop.

python -m benchmarks.plain_server --port 50060 --triton 127.0.0.1:8001     # PLAIN_PATH_FOLDER says where Feast is
python -m benchmarks.plain_server --port 50061                             # the bare hop
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

from benchmarks.plain_path import FOLDER_VARIABLE, Inputs, PlainPath
from loreline.ranking.v1 import ranking_pb2
from services.runtime.stop_signal import StopSignal

THREADS = 16
SERVICE = "loreline.ranking.v1.RankingService"


def main() -> None:
    """Serve until SIGTERM. Several processes may share a port."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--triton", default="", help="host:port of Triton; without it requests are echoed")
    given = parser.parse_args()
    answer = _ranks_with(given.triton) if given.triton else lambda request: request
    server = serving(answer, f"127.0.0.1:{given.port}")
    StopSignal().wait()
    server.stop(1).wait()


def serving(answer: Callable[[bytes], bytes], address: str) -> grpc.Server:
    """A started server that answers calls of Rank, in bytes."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    method = grpc.unary_unary_rpc_method_handler(lambda request, _context: answer(request))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Rank": method})])
    server.add_insecure_port(address)
    server.start()
    return server


def _ranks_with(address: str) -> Callable[[bytes], bytes]:
    client = triton.InferenceServerClient(address)
    path = PlainPath(Path(os.environ[FOLDER_VARIABLE]), lambda inputs: _infer(client, inputs))

    def answer(request: bytes) -> bytes:
        asked = ranking_pb2.RankRequest.FromString(request)
        item_ids, scores = path.rank(asked.user_id, list(asked.candidate_item_ids))
        return ranking_pb2.RankResponse(item_ids=item_ids, scores=scores).SerializeToString()

    return answer


def _infer(client: triton.InferenceServerClient, inputs: Inputs) -> npt.NDArray[np.float32]:
    tensors = []
    for name, values in inputs.items():
        tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    scores: npt.NDArray[np.float32] = client.infer("scorer", tensors).as_numpy("score")
    return scores


if __name__ == "__main__":
    main()
