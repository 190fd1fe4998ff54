"""Tensors on their way into the host's memory: those that may change at any time at once, the others a moment later."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Event
from typing import Any

import torch
from torch import Tensor

from forgia_jobs import devices
from forgia_jobs.checkpoints.checkpoint_file import Layout


class Memory:
    """Memory that every checkpoint takes again; page-locked where a GPU copies into it."""

    def __init__(self, device: torch.device) -> None:
        self._is_locked = device.type == "cuda"
        self._block = torch.empty(0, dtype=torch.uint8)

    def take(self, size: int) -> Tensor:
        """So many bytes; whoever had them before has them no more."""
        if len(self._block) < size:
            self.close()
            self._block = torch.empty(size, dtype=torch.uint8)
            if self._is_locked:
                devices.lock_pages(self._block)
        return self._block[:size]

    def close(self) -> None:
        """Give it back."""
        if self._is_locked and len(self._block):
            devices.unlock_pages(self._block)
        self._block = torch.empty(0, dtype=torch.uint8)


class Copying:
    """The bytes of tensors, in the order of a layout: all but the late ones are there at once.

    The late ones must not change until ``wait`` has returned; another thread calls ``finish``.
    """

    def __init__(
        self,
        block: Tensor,
        layout: Layout,
        tensors: Mapping[str, Tensor],
        *,
        late: Collection[str],
        device: torch.device,
    ) -> None:
        self.block, self._layout = block, layout
        self._late = {name: tensors[name] for name in late}
        self._done = Event()
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # for the steps so far, and for none to come
        self._copy({name: tensor for name, tensor in tensors.items() if name not in self._late})
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()

    def finish(self) -> None:
        """Copy the late ones; the rest of the training may go on as soon as they are there, or cannot be."""
        try:
            if self._stream is None:
                self._copy(self._late)
            else:
                with torch.cuda.stream(self._stream):
                    self._copy(self._late)
                self._stream.synchronize()
        finally:
            self._late = {}  # nothing refers to what is being trained
            self._done.set()

    def wait(self) -> None:
        """Until everything is copied."""
        self._done.wait()

    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            start, stop = self._layout.spans[name]
            place = self.block[start:stop].view(tensor.dtype).view(tensor.shape)
            place.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
