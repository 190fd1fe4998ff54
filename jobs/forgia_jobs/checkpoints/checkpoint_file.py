"""One file of a checkpoint: tensors as safetensors, laid out so that they can be written from one block of memory.

The format is that of https://github.com/safetensors/safetensors#format (0.8): length of the header, header, bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO

import torch
from torch import Tensor

from forgia import store

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""torch's types and the format's names. Source: as above."""
ALIGNMENT = 64
"""Bytes; where the first tensor begins, so that a mapped file is as good as memory of one's own."""
BLOCK = 16 * 2**20
"""Bytes that are written and digested at a time; between two, the writer can be called off."""


class CalledOff(Exception):
    """Nobody wants the file any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where each tensor lies behind the header."""

    header: bytes
    spans: Mapping[str, tuple[int, int]]
    """Name → first byte and the one behind the last, in the order of the file."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return max((stop for _, stop in self.spans.values()), default=0)


def arrange(tensors: Mapping[str, Tensor]) -> Layout:
    """Wide types first, as the format's own library does: then every tensor begins at a multiple of its width."""
    spans: dict[str, tuple[int, int]] = {}
    facts, position = {}, 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name]
        spans[name] = (position, position + tensor.numel() * tensor.element_size())
        position = spans[name][1]
        facts[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": list(spans[name])}
    text = json.dumps(facts, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return Layout(header=len(text).to_bytes(8, "little") + text, spans=spans)


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes; without a copy where it lies on the CPU in one piece."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def write(path: Path, layout: Layout, blocks: Iterable[memoryview], *, call_off: Event, scratch: Path | None) -> str:
    """Write a file to the disk for good, by way of a node's own where there is one; returns its digest.

    Args: blocks — the bytes in the order of the layout.
    Raises: OSError — the disk takes no more. CalledOff.
    """
    with os.fdopen(store.create(path, os.O_EXCL), "wb", buffering=0) as file:
        if scratch is None:
            digest = _pour(file, layout, blocks, call_off=call_off)
        else:
            digest = _by_way_of(scratch, file, layout, blocks, call_off=call_off)
        os.fsync(file.fileno())
    return digest


def _by_way_of(scratch: Path, file: BinaryIO, layout: Layout, blocks: Iterable[memoryview], *, call_off: Event) -> str:
    """The file on the node has no name: a process that is killed leaves nothing."""
    import tempfile

    with tempfile.TemporaryFile(dir=scratch, buffering=0) as near:
        digest = _pour(near, layout, blocks, call_off=call_off)
        near.seek(0)
        while block := near.read(BLOCK):
            _refuse(call_off)
            _write_all(file, memoryview(block))
    return digest


def _pour(file: BinaryIO, layout: Layout, blocks: Iterable[memoryview], *, call_off: Event) -> str:
    """Write and digest block by block; both let other threads run."""
    sha = hashlib.sha256(layout.header)
    _write_all(file, memoryview(layout.header))
    for block in blocks:
        for start in range(0, len(block), BLOCK):
            _refuse(call_off)
            part = block[start : start + BLOCK]
            _write_all(file, part)
            sha.update(part)
    return "sha256:" + sha.hexdigest()


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _refuse(call_off: Event) -> None:
    if call_off.is_set():
        raise CalledOff
