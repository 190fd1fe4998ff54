"""A folder as one file whose bytes depend on nothing but names, contents and executability."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forgia.digest import IGNORED_NAMES
from forgia.store import file_mode

COMPRESSION = 1
"""Of gzip: the one that every Python can read."""
DISK_BLOCK = 4096
"""What a file takes on a disk is a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What went into an archive."""

    files: int
    unpacked_bytes: int
    """On a disk, in whole blocks."""


def pack(root: Path, target: Path) -> Packed:
    """Write the archive of a folder; it is on disk when this returns."""
    files = unpacked_bytes = 0
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode(target.parent)), "wb") as raw:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=COMPRESSION, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for path in packed_files(root):
                files += 1
                unpacked_bytes += add(tar, path, path.relative_to(root).as_posix())
        raw.flush()
        os.fsync(raw.fileno())
    return Packed(files=files, unpacked_bytes=unpacked_bytes)


def packed_files(root: Path) -> Iterator[Path]:
    """Files, and links to a neighbour by name, in the order of their paths; nothing that Python compiled."""
    found = []
    for folder, folders, names in os.walk(root):
        # A link to a folder, such as lib64, is made anew by who needs it: what it shows is packed once.
        folders[:] = [name for name in folders if name not in IGNORED_NAMES]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc") and is_packed(Path(folder, name))]
    return iter(sorted(found, key=lambda path: path.relative_to(root).as_posix()))


def is_packed(path: Path) -> bool:
    """A regular file, or a link to a neighbour."""
    if path.is_symlink():
        return "/" not in str(path.readlink())
    return path.is_file()


def add(tar: tarfile.TarFile, path: Path, name: str) -> int:
    """Add one file under this name; the bytes that it takes on a disk."""
    member = tarfile.TarInfo(name)
    found = path.lstat()
    member.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
    if path.is_symlink():
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        tar.addfile(member)
        return DISK_BLOCK
    member.size = found.st_size
    with path.open("rb") as file:
        tar.addfile(member, file)
    return -(-found.st_size // DISK_BLOCK) * DISK_BLOCK
