"""Same request, same bytes: seeds, thread counts and the deterministic versions of every operation."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from forgia import digest

CUBLAS_WORKSPACE = ":4096:8"
"""Source: https://docs.nvidia.com/cuda/cublas/#results-reproducibility (CUDA 12)."""


def set_up(*, level: str, seed: int, threads: int) -> dict[str, Any]:
    """Fix what decides the bits of a result, before any CUDA call; what was fixed is returned for the record."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.set_num_threads(threads)  # sums over another number of threads round differently
    strict = level == "D1"
    torch.use_deterministic_algorithms(strict)
    # Filling fresh memory guards against reading it before writing: worth its time where bits are compared, not here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # missing in its stubs
    torch.backends.cudnn.benchmark = not strict
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    seed_all(seed)
    return {"level": level, "seed": seed, "threads": threads, "torch": torch.__version__}


def seed_all(seed: int) -> None:
    """Python's, numpy's and torch's generators; CUDA's follow torch's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def rehearsing(model: nn.Module, device: torch.device) -> Iterator[None]:
    """What is tried within leaves torch's generators and the network's buffers as they were; gradients it may leave."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])


def tensor_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The digest of names, types, shapes and bytes: equal for equal weights however a file lays them out."""
    rows = []
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content = digest.of_bytes(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        rows.append([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), content])
    return digest.of_json(rows)
