"""Real servers that the integration tests share."""

from tests.integration.triton_server import triton, triton_registry

__all__ = ["triton", "triton_registry"]
