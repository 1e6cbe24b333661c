"""A real process of services.runtime.server: `python sample_process.py HOST:PORT`. Its service answers slowly.

A number after the address makes it so many processes; a third argument is an exit code with which each ends at start.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc

from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.runtime.logs import configure_logs
from services.runtime.server import ServerOptions, Service, serve
from services.runtime.worker_processes import SupervisorPolicy, run_processes

NAME = "loreline.knowledge.v1.KnowledgeService"
STOPPING = threading.Event()


class SlowServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """A unary method that takes its time, and a stream that ends only when the process stops."""

    def __init__(self) -> None:
        self._slow_calls = 0

    def GetUserKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer at once: to the user "slow calls" how many have arrived, to all others the number of the process."""
        number = self._slow_calls if request.user_id == "slow calls" else os.getpid()
        return knowledge_pb2.GetUserKnowledgeResponse(knowledge=knowledge_pb2.Knowledge(text=str(number)))

    def GetItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer half a second after the process was told to stop."""
        self._slow_calls += 1
        STOPPING.wait(60)
        time.sleep(0.5)
        return knowledge_pb2.GetItemKnowledgeResponse(knowledge=knowledge_pb2.Knowledge(text="done"))

    def GenerateItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """One answer at once, the last when the process stops."""
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="first")
        STOPPING.wait(100)
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="last")


def main() -> None:
    """Serve until told to stop."""
    configure_logs("sample")
    options = ServerOptions(sys.argv[1], workers=4, processes=int((sys.argv[2:] or ["1"])[0]))
    run_processes(options, partial(_work, options), SupervisorPolicy(settled_seconds=1.0, first_pause_seconds=0.05))


def _work(options: ServerOptions) -> None:
    if sys.argv[3:]:
        sys.exit(int(sys.argv[3]))

    def add(server: grpc.Server) -> None:
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(SlowServicer(), server)

    serve(
        options,
        [Service(NAME, add)],
        {"store": lambda: True},
        close=lambda: print("closed", flush=True),  # noqa: T201
        stopping=STOPPING.set,
    )


if __name__ == "__main__":
    main()
