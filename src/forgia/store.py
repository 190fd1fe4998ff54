"""Files as forgia writes them: beside, fsync, rename; locked where two may write; private by default."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgia.errors import ClusterError, UserError

PRIVATE_DIRECTORY_MODE = 0o700
"""On a shared project disk every collaborator may write; a file that another can swap is code another can run."""


def private_directory(path: Path) -> Path:
    """Make a folder (and those above it) that only its owner can enter; leave an existing one as it is."""
    path.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a crash at any moment, sees the old bytes or the new, never a mixture."""
    payload = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: UserError — not JSON (with its line)."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error


def append_line(path: Path, value: Any, *, sync: bool) -> None:
    """Append one JSON line in one write, so that lines of several writers never mix."""
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; a last line cut by a crash is passed over, as is a file that is not there yet."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


@contextlib.contextmanager
def building(final: Path) -> Iterator[Path]:
    """A private folder beside ``final`` to build in; it takes that name when the block ends well, and goes when not.

    Raises: FileExistsError — another writer published ``final`` first; what was built here is gone.
    """
    private_directory(final.parent)
    sweep(final)
    beside = final.parent / f".{final.name}.{os.getpid()}.{os.urandom(4).hex()}.part"
    beside.mkdir(mode=PRIVATE_DIRECTORY_MODE)
    try:
        yield beside
        sync_tree(beside)
        if final.exists():
            raise FileExistsError(final)
        beside.rename(final)
    except BaseException:
        import shutil

        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_directory(final.parent)


ABANDONED_AFTER_S = 24 * 3600
"""A folder that was being built this long ago has no builder any more; process ids say nothing across machines."""


def sweep(final: Path) -> None:
    """Remove what builders of ``final`` left when they were killed."""
    import shutil

    for path in final.parent.glob(f".{final.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold a lock file; POSIX record locks, which NFS and Lustre honour and a dead process gives back.

    Raises: ClusterError (transient) — another process held it for longer than the time-out.
    """
    private_directory(path.parent)
    deadline = time.monotonic() + timeout_s
    with path.open("a+b") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    message = f"{path} has been locked by another process for {timeout_s:.0f} s"
                    raise ClusterError(message, transient=True, hint="try again in a moment") from error
                time.sleep(0.05)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN)


def copy_tree(source: Path, target: Path, files: Iterator[Path]) -> None:
    """Copy these files of ``source`` below ``target``, keeping their relative names."""
    import shutil

    for path in files:
        place = target / path.relative_to(source)
        private_directory(place.parent)
        shutil.copyfile(path, place)


def sync_directory(path: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """fsync every file and folder below ``root``."""
    for folder, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))
