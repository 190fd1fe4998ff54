"""What computing on a GPU asks of the code beside it: copies that do not wait, threads that know their device.

A copy from ordinary memory waits for everything that the GPU was told before. A thread that was not told its device
uses the first one, of which another rank may have charge.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

PORTABLE = 1
"""cudaHostRegisterPortable: locked for every context. Source: CUDA runtime API 12, cudaHostRegister"""


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what is computed there; the very same one if it is there."""
    if device.type == "cpu" or tensor.is_cuda:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def thread(device: torch.device, *, name: str) -> ThreadPoolExecutor:
    """One thread for what is to be done beside the training."""
    if device.type != "cuda":
        return ThreadPoolExecutor(1, thread_name_prefix=name)
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=torch.cuda.set_device, initargs=(device,))


def lock_pages(block: Tensor) -> None:
    """Let GPUs copy into memory by themselves; torch's own page-locked memory may be twice as large as what was asked.

    Raises: RuntimeError — the system does not lock so much.
    """
    cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    if code := int(cuda.cudaHostRegister(block.data_ptr(), block.nbytes, PORTABLE)):
        raise RuntimeError(f"{block.nbytes} bytes of memory cannot be locked for the GPU's copies: CUDA error {code}")


def unlock_pages(block: Tensor) -> None:
    """The inverse, before the memory is freed."""
    cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    cuda.cudaHostUnregister(block.data_ptr())
