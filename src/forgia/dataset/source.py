"""Files as they come: found in folders, hashed while read, decompressed, told apart by their first bytes."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from forgia.errors import NotFound, UserError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".pq", ".jsonl", ".ndjson")
COMPRESSED_SUFFIXES = (".gz", ".zst")
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "parquet"}
"""First bytes → format. Source: RFC 1952 §2.3.1, RFC 8878 §3.1.1, Apache Parquet format 2.11 (file layout)."""
STRANGERS = {
    b"PK\x03\x04": "an Excel workbook or a zip archive; save it as CSV first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV first",
    b"%PDF": "a PDF document",
    b"BZh": "compressed with bzip2; use gzip or zstd",
    b"\xfd7zXZ": "compressed with xz; use gzip or zstd",
    b"\x89HDF": "an HDF5 file; export it as CSV or Parquet",
    b"\x89PNG": "an image; name the folder that holds one folder of images a class",
    b"\xff\xd8\xff": "an image; name the folder that holds one folder of images a class",
}


def expand(paths: Iterable[Path]) -> list[Path]:
    """The table files that these files and folders mean, in the order of their names within a folder.

    Raises: NotFound — no such file. UserError — a folder without tables, or a file that is meant twice.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(item for item in path.rglob("*") if item.is_file() and is_table_name(item.name))
            if not inside:
                raise UserError(
                    f"{path}: no table in this folder; forgia reads {' '.join(TABLE_SUFFIXES)}, also .gz, .zst"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            near = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
            raise NotFound("file", str(path), known=[str(path.with_name(name)) for name in near][:500])
    twice = {str(path) for path, count in Counter(item.resolve() for item in found).items() if count > 1}
    if twice:
        raise UserError(f"named more than once, so that its rows would count twice: {', '.join(sorted(twice))}")
    return found


def is_table_name(name: str) -> bool:
    """Whether a file of this name in a folder is data."""
    lower = name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        lower = lower.removesuffix(suffix)
    return lower.endswith(TABLE_SUFFIXES) and not name.startswith(".")


class HashedFile(io.RawIOBase):
    """A file that digests and counts what is read from it, in order."""

    def __init__(self, path: Path, *, advance: Callable[[int], Any] | None = None) -> None:
        self.path, self.size = path, path.stat().st_size
        self._file: BinaryIO = path.open("rb", buffering=0)
        self._sha256 = hashlib.sha256()
        self._advance = advance
        self.consumed = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size``."""
        data = self._file.read(size) or b""
        self._sha256.update(data)
        self.consumed += len(data)
        if self._advance:
            self._advance(len(data))
        return data

    def close(self) -> None:
        """Nothing: Arrow closes what it decompresses, before the rest of the file is digested."""

    def release(self) -> None:
        """Give the descriptor back."""
        self._file.close()

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def digest(self) -> str:
        """The digest of the whole file: what was not read yet is read now."""
        while self.read(1 << 24):
            pass
        return "sha256:" + self._sha256.hexdigest()


def format_of(path: Path) -> str:
    """``parquet``, ``gzip``, ``zstd`` or ``text``, by the first bytes and whatever the name says.

    Raises: UserError — empty, unreadable, or a format that is no table.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise UserError(f"{path}: the file is empty")
    for magic, what in STRANGERS.items():
        if head.startswith(magic):
            raise UserError(f"{path}: this is {what}")
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "text")


def decompressed(file: HashedFile, compression: str) -> Any:
    """A stream of the bytes inside."""
    if compression not in ("gzip", "zstd"):
        return file
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), compression)
