"""Files as forgia writes them: beside, fsync, rename; locked where two may write; private by default.

A folder tree that its owner has opened to a group says so by a marker file; what is written below it follows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgia.errors import ClusterError, UserError

PRIVATE_DIRECTORY_MODE = 0o700
"""On a shared project disk every collaborator may write; a file that another can swap is code another can run."""


SHARED_MARKER = ".shared"
"""In the top folder of a shared tree: who may do what below it, a key of ``GROUP_MODES``."""
GROUP_MODES = {"nothing": 0, "read": stat.S_IRGRP | stat.S_IXGRP, "write": stat.S_IRWXG}


@functools.cache
def group_mode(folder: Path) -> int:
    """What the group may do with what lies in a folder: permission bits, none unless the owner has shared it.

    The nearest marker above decides. One that is not the folder owner's counts for nothing: on a project disk others
    can put files beside ours.
    """
    try:
        owner, marker = folder.stat().st_uid, folder / SHARED_MARKER
        if marker.stat().st_uid == owner:
            return GROUP_MODES.get(marker.read_text(encoding="utf-8").strip(), 0)
    except OSError:
        pass
    return 0 if folder.parent == folder else group_mode(folder.parent)


def directory_mode(folder: Path) -> int:
    """Permissions of a new folder in ``folder``; a shared one hands its group down."""
    bits = group_mode(folder.absolute())
    return PRIVATE_DIRECTORY_MODE | bits | (stat.S_ISGID if bits else 0)


def file_mode(folder: Path) -> int:
    """Permissions of a new file in ``folder``."""
    return stat.S_IRUSR | stat.S_IWUSR | (group_mode(folder.absolute()) & ~stat.S_IXGRP)


def umask(folder: Path) -> int:
    """The umask for programs that write below ``folder`` by themselves, such as a job."""
    return 0o077 & ~group_mode(folder.absolute())


def private_directory(path: Path) -> Path:
    """Make a folder (and those above it) that nobody else can enter, or the group of a shared tree alone.

    An existing folder stays as it is.
    """
    if not path.is_dir():
        if path.parent != path:
            private_directory(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=PRIVATE_DIRECTORY_MODE)
            if (mode := directory_mode(path.parent)) != PRIVATE_DIRECTORY_MODE:
                path.chmod(mode)
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is a file where a folder should be")
    return path


def create(path: Path, flags: int) -> int:
    """Open a file to write, and give a new one the permissions of its place, whatever the umask; a descriptor."""
    mode = file_mode(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, os.O_WRONLY | flags)
    if mode != 0o600:
        os.fchmod(descriptor, mode)
    return descriptor


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace a file so that a reader, or a crash at any moment, sees the old bytes or the new, never a mixture."""
    payload = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        descriptor = create(beside, os.O_EXCL)
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
    """Append one JSON line in one write, so that lines of several writers never mix.

    Raises: OSError — the disk took only a part of it; the next line begins behind that part.
    """
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    if is_torn(path):  # what stands there would swallow this line
        line = b"\n" + line
    descriptor = create(path, os.O_APPEND)
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_torn(path: Path) -> bool:
    """The file's last line has no end: a full disk takes the first part of a line without complaint."""
    try:
        with path.open("rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"
    except FileNotFoundError:
        return False


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
    private_directory(beside)
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
    with os.fdopen(create(path, os.O_APPEND), "ab") as file:
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
