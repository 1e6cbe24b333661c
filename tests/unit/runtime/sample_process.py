"""A real process of services.runtime.server: `python sample_process.py HOST:PORT`. Its service answers slowly."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.runtime.logs import configure_logs
from services.runtime.server import ServerOptions, Service, serve

NAME = "loreline.knowledge.v1.KnowledgeService"
STOPPING = threading.Event()


class SlowServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """A unary method that takes its time, and a stream that ends only when the process stops."""

    def GetItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer after a second."""
        threading.Event().wait(1)
        return knowledge_pb2.GetItemKnowledgeResponse(knowledge=knowledge_pb2.Knowledge(text="done"))

    def GenerateItemKnowledge(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """One answer at once, the last when the process stops."""
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="first")
        STOPPING.wait(30)
        yield knowledge_pb2.GenerateItemKnowledgeResponse(item_id="last")


def main() -> None:
    """Serve until told to stop."""
    configure_logs("sample")

    def add(server: grpc.Server) -> None:
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(SlowServicer(), server)

    serve(
        ServerOptions(sys.argv[1], workers=4),
        [Service(NAME, add)],
        {"store": lambda: True},
        close=lambda: print("closed", flush=True),  # noqa: T201
        stopping=STOPPING.set,
    )


if __name__ == "__main__":
    main()
