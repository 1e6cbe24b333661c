"""System shared memory between this process and a Triton server on the same machine: tensors are not copied into calls.

A region is used by one request at a time. Regions of a process that dies are unlinked by multiprocessing's tracker.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype
from tritonclient.utils import shared_memory as system

SMALLEST_BYTES = 1 << 18
ALIGNMENT = 64
LOST = "Unable to find shared memory region"  # what a restarted server says


class Region:
    """A piece of shared memory that one server knows: inputs from its start, the output after them."""

    def __init__(self, client: triton.InferenceServerClient, size: int) -> None:
        self.client, self.size = client, size
        self.name = f"loreline-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._handle = system.create_shared_memory_region(self.name, f"/{self.name}", size, create_only=True)
        self.register()

    def register(self) -> None:
        """Tell the server of it. Raises InferenceServerException."""
        self.client.register_system_shared_memory(self.name, f"/{self.name}", self.size)

    def tensors(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[triton.InferInput]:
        """Write the inputs, and say where they are."""
        found, offset = [], 0
        for name, values in inputs.items():
            tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            system.set_shared_memory_region(self._handle, [np.ascontiguousarray(values)], offset)
            tensor.set_shared_memory(self.name, values.nbytes, offset)
            found.append(tensor)
            offset += _aligned(values.nbytes)
        return found

    def output(self, name: str, size: int) -> triton.InferRequestedOutput:
        """Where the server is to write `size` bytes, at the region's end."""
        requested = triton.InferRequestedOutput(name)
        requested.set_shared_memory(self.name, size, self.size - _aligned(size))
        return requested

    def read(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """A copy of the float32 output of a shape."""
        offset = self.size - _aligned(4 * int(np.prod(shape)))
        view = system.get_contents_as_numpy(self._handle, np.float32, shape, offset)
        return np.array(view, dtype=np.float32)

    def close(self) -> None:
        """Take it back from the server, if that answers, and give it up."""
        with suppress(InferenceServerException):
            self.client.unregister_system_shared_memory(self.name, client_timeout=1.0)
        system.destroy_shared_memory_region(self._handle)


class Regions:
    """The regions of one server's client that are free to be used; as many are made as are used at a time."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._closed = False

    @contextmanager
    def borrow(self, inputs: Mapping[str, npt.NDArray[Any]], output_bytes: int) -> Iterator[Region]:
        """A region that holds inputs and output. After an error it is given up: the server may still write to it."""
        size = sum(_aligned(values.nbytes) for values in inputs.values()) + _aligned(output_bytes)
        region = self._take(size) or Region(self._client, max(SMALLEST_BYTES, 1 << (size - 1).bit_length()))
        try:
            yield region
        except BaseException:
            region.close()
            raise
        self._give_back(region)

    def close(self) -> None:
        """Give up all regions, also those that come back later."""
        with self._lock:
            self._closed, free, self._free = True, self._free, []
        for region in free:
            region.close()

    def _take(self, size: int) -> Region | None:
        with self._lock:
            fitting = next((region for region in self._free if region.size >= size), None)
            if fitting:
                self._free.remove(fitting)
            return fitting

    def _give_back(self, region: Region) -> None:
        with self._lock:
            if not self._closed:
                self._free.append(region)
                return
        region.close()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
