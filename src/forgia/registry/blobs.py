"""Blobs: files whose name is their content; written beside, synced, renamed, read-only from then on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from forgia import digest
from forgia.errors import IntegrityError

MODE = 0o444
BLOCK_BYTES = 1024 * 1024


def put(data: bytes, folder: Path) -> str:
    """Store bytes and return their digest."""

    def fill(target: BinaryIO) -> str:
        target.write(data)
        return digest.of_bytes(data)

    return _store(folder, fill)


def take(source: Path, folder: Path) -> tuple[str, int]:
    """Store a copy of a file, digested while it is copied; returns digest and size."""
    size = 0

    def fill(target: BinaryIO) -> str:
        nonlocal size
        name, size = _pour(source, target)
        return name

    return _store(folder, fill), size


def adopt(source: Path, folder: Path, *, name: str, what: str) -> None:
    """Store another layout's blob, by hard link where both lie on one file system.

    A blob that is there already is read too: if it was altered, the good one takes its place.
    Raises: IntegrityError — the source is missing or altered; nothing is stored.
    """
    final = folder / digest.hexadecimal(name)
    if final.is_file() and digest.of_file(final) == name:
        return
    if not source.is_file():
        raise IntegrityError(what, expected=name, found="nothing")
    with _beside(folder) as part:
        found = _link(source, part) or copy(source, part)
        if found != name:
            raise IntegrityError(what, expected=name, found=found)
        part.chmod(MODE)
        part.replace(final)


def _link(source: Path, part: Path) -> str | None:
    try:
        os.link(source, part, follow_symlinks=False)
    except OSError:  # another file system, too many links, or a kernel that protects files of others
        return None
    return digest.of_file(part)


def copy(source: Path, part: Path) -> str:
    """Copy a file to a place that is free yet, to the disk itself; returns the digest of what was copied."""
    with part.open("xb") as target:
        name, _ = _pour(source, target)
        _sync(target)
    return name


def _pour(source: Path, target: BinaryIO) -> tuple[str, int]:
    state, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
            size += target.write(block)
    return f"sha256:{state.hexdigest()}", size


def _store(folder: Path, fill: Callable[[BinaryIO], str]) -> str:
    with _beside(folder) as part:
        with part.open("xb") as target:
            name = fill(target)
            os.fchmod(target.fileno(), MODE)
            _sync(target)
        part.replace(folder / digest.hexadecimal(name))
    return name


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A free name in the folder; whatever is left under it goes, also after a rename onto a link of the same file."""
    part = folder / f".{os.getpid()}.{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            part.unlink()
