"""Arrays as Arrow files: written block by block, mapped into memory whole, and known by their digests.

A file holds one record batch of one column, so that its numbers lie in one piece: all ranks of a node share the pages,
and a tensor over them is indexed like any other. What a process writes into such a tensor stays its own.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia.errors import IntegrityError
from forgia.store import create

Matrix = npt.NDArray[Any]
PIECE_BYTES = 64 << 20
"""A file has a digest for each so many bytes, so that several threads can check it."""
LINE, STEP = 64, 8
"""Bytes: numbers begin where a line of the processor's cache does, so that sixteen floats are one line and not two;
Arrow puts them at a multiple of the step."""
RESERVE_NOTHING = 0x4000
"""MAP_NORESERVE, which Python names from 3.13 on: a file may be larger than the memory.

Source: include/uapi/asm-generic/mman.h of Linux 6.1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFile:
    """What is known of one file; one without elements is not written."""

    shape: tuple[int, ...]
    """One or two dimensions."""
    dtype: str
    pieces: tuple[str, ...] = ()
    """Digests of the file's bytes, ``PIECE_BYTES`` each."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ArrayFile:
        """Raises: KeyError — a field is missing."""
        return cls(shape=tuple(value["shape"]), dtype=str(value["dtype"]), pieces=tuple(value["pieces"]))


class _Sink:
    """A file that digests what it is given, and takes blocks in place of a buffer that nobody fills."""

    def __init__(self, path: Path, blocks: Iterable[Matrix], stand_in: int) -> None:
        self._file = os.fdopen(create(path, os.O_TRUNC), "wb")
        self._blocks, self._stand_in = blocks, stand_in
        self._hash, self._room = hashlib.sha256(), PIECE_BYTES
        self._pieces: list[str] = []
        self.filled = 0
        """Bytes of blocks so far."""
        self.closed = False

    def write(self, data: Any) -> int:
        """Bytes as they are; for the stand-in's buffer, all blocks."""
        if isinstance(data, pa.Buffer) and data.address == self._stand_in:
            for block in self._blocks:
                self.filled += block.nbytes
                self._put(np.ascontiguousarray(block).data.cast("B"))
        else:
            self._put(memoryview(data))
        return len(data)

    def _put(self, view: memoryview) -> None:
        while len(view):
            head, view = view[: self._room], view[self._room :]
            self._file.write(head)
            self._hash.update(head)
            self._room -= len(head)
            if not self._room:
                self._end_piece()

    def _end_piece(self) -> None:
        self._pieces.append("sha256:" + self._hash.hexdigest())
        self._hash, self._room = hashlib.sha256(), PIECE_BYTES

    def flush(self) -> None:
        """Arrow asks for it; the file is flushed when it ends."""

    def end(self) -> tuple[str, ...]:
        """Close the file; the digests of its pieces."""
        self._file.close()
        if self._room < PIECE_BYTES:
            self._end_piece()
        return tuple(self._pieces)


def write(path: Path, blocks: Iterable[Matrix], *, shape: tuple[int, ...], dtype: npt.DTypeLike) -> ArrayFile:
    """Write the rows of all blocks as one array, holding no more than a block.

    Raises: ValueError — the blocks do not have that many elements.
    """
    facts = ArrayFile(shape=shape, dtype=np.dtype(dtype).name)
    if not facts.count:
        return facts
    size = facts.count * np.dtype(dtype).itemsize
    # Arrow wants the whole array before it writes: it gets memory that is never touched, and the sink the real bytes.
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | RESERVE_NOTHING) as nothing:
        buffer = pa.py_buffer(nothing)
        sink = _Sink(path, blocks, buffer.address)
        batch = _aligned(_batch(buffer, facts), buffer)
        with pa.ipc.new_file(pa.PythonFile(sink, "w"), batch.schema) as writer:
            writer.write_batch(batch)
        pieces = sink.end()
        del batch, writer, buffer
    if sink.filled != size:
        raise ValueError(f"{path}: {sink.filled} bytes in the blocks of an array of {size}")
    return ArrayFile(shape=shape, dtype=facts.dtype, pieces=pieces)


def _batch(buffer: pa.Buffer, facts: ArrayFile) -> pa.RecordBatch:
    """One column over a buffer: numbers, or lists of so many numbers."""
    kind = pa.from_numpy_dtype(np.dtype(facts.dtype))
    values = pa.Array.from_buffers(kind, facts.count, [None, buffer], null_count=0)
    if len(facts.shape) == 2:
        lists = pa.list_(pa.field("item", kind, nullable=False), facts.shape[1])
        values = pa.Array.from_buffers(lists, facts.shape[0], [None], null_count=0, children=[values])
    return pa.record_batch([values], schema=pa.schema([pa.field("values", values.type, nullable=False)]))


class _Ruler:
    """A file that only measures where a buffer would come to lie."""

    def __init__(self, stand_in: int) -> None:
        self._stand_in, self._position = stand_in, 0
        self.found = -1
        self.closed = False

    def write(self, data: Any) -> int:
        """Count the bytes."""
        if isinstance(data, pa.Buffer) and data.address == self._stand_in:
            self.found = self._position
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""


def _aligned(batch: pa.RecordBatch, buffer: pa.Buffer) -> pa.RecordBatch:
    """The batch, with so many blanks beside its schema that its numbers lie well in the file."""
    for blanks in range(0, 2 * LINE, STEP):
        padded = batch.replace_schema_metadata({"blanks": " " * blanks})
        ruler = _Ruler(buffer.address)
        with pa.ipc.new_file(pa.PythonFile(ruler, "w"), padded.schema) as writer:
            writer.write_batch(padded)
        if ruler.found % LINE == 0:
            return padded
    raise AssertionError("blanks in steps of eight reach every multiple of eight")


def open_array(path: Path, facts: ArrayFile) -> Matrix:
    """The array over the mapped file; nothing is read before it is looked at.

    Raises: IntegrityError — no such file, or another array.
    """
    if not facts.count:
        return np.zeros(facts.shape, dtype=facts.dtype)
    flags, access = mmap.MAP_PRIVATE | RESERVE_NOTHING, mmap.PROT_READ | mmap.PROT_WRITE
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
        whole = pa.py_buffer(memory)
        column = pa.ipc.open_file(pa.BufferReader(whole)).get_batch(0).column(0)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise IntegrityError(str(path), expected="an Arrow file", found=str(error)) from error
    width = facts.shape[1] if len(facts.shape) == 2 else None
    expected = (facts.shape[0], width, facts.dtype)
    values = column.values if pa.types.is_fixed_size_list(column.type) else column
    found = (len(column), getattr(column.type, "list_size", None), np.dtype(values.type.to_pandas_dtype()).name)
    if found != expected:
        raise IntegrityError(str(path), expected=str(expected), found=str(found))
    start = values.buffers()[1].address - whole.address
    return np.frombuffer(memory, dtype=facts.dtype, count=facts.count, offset=start).reshape(facts.shape)


def verify(files: Mapping[Path, ArrayFile]) -> None:
    """Digest every file again, several pieces at a time. Raises: IntegrityError — naming the first that differs."""
    for path, facts in files.items():
        size = path.stat().st_size if path.is_file() else -1
        if facts.count and -(-size // PIECE_BYTES) != len(facts.pieces):
            raise IntegrityError(str(path), expected=f"{len(facts.pieces)} piece(s)", found=f"{size} bytes")
    pieces = [(path, number, piece) for path, facts in files.items() for number, piece in enumerate(facts.pieces)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda item: _digest(item[0], item[1]), pieces)
        for (path, number, expected), digest in zip(pieces, found, strict=True):
            if digest != expected:
                raise IntegrityError(f"{path}, piece {number}", expected=expected, found=digest)


def _digest(path: Path, number: int) -> str:
    """The digest of one piece of a file."""
    found, left = hashlib.sha256(), PIECE_BYTES
    with path.open("rb") as file:
        file.seek(number * PIECE_BYTES)
        while left and (data := file.read(min(left, 1 << 20))):
            found.update(data)
            left -= len(data)
    return "sha256:" + found.hexdigest()
