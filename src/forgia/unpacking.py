"""Enter a packed environment on a node: check it, unpack it once, become its interpreter.

Copied into the run's folder and run there by the node's base interpreter, before anything of forgia can be imported;
so it stands on the standard library alone.

python -I -S unpacking.py environment.json [-- argument of python …]

Without arguments of python it only checks, which is all that an image needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import stat
import sys
import tarfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NoReturn

UNFIT = 78
"""Exit code of a node or an archive that will not do. Source: EX_CONFIG of sysexits.h"""
SPARE_BYTES = 256 * 2**20
"""Left free on a node's disk; on a diskless node that disk is memory."""
UNUSED_S = 3 * 24 * 3600
"""After so long an unpacked environment is made anew: cleaners of /tmp take single files of it away."""
BLOCK = 2**20


class UnfitError(Exception):
    """This node, or this archive, will not do, and why."""


class NoRoomError(Exception):
    """This disk will not do, and why; another may."""


# Is this the node, and is this the archive?


def mismatches(facts: dict[str, Any]) -> list[str]:
    """A sentence for each thing that this node does not have as the machine had it that built the environment."""
    found = []
    machine, cache_tag, glibc = platform.machine(), sys.implementation.cache_tag, own_glibc()
    if machine != facts["machine"]:
        found.append(f"it is for {facts['machine']} and this node is {machine}")
    if cache_tag != facts["cache_tag"]:
        found.append(f"it is for {facts['cache_tag']} and {sys.executable} here is {cache_tag}")
    if facts.get("glibc") and glibc and numbers(glibc) < numbers(facts["glibc"]):
        found.append(f"it was built with glibc {facts['glibc']} and this node has the older {glibc}")
    return found


def own_glibc() -> str:
    """``2.36``; empty where there is no glibc."""
    with contextlib.suppress(ValueError, OSError):
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    return ""


def numbers(version: str) -> list[int]:
    """``2.36`` as [2, 36]."""
    return [int(part) for part in version.split(".") if part.isdecimal()]


class DigestingReader:
    """A file whose bytes are digested as they are read: what is unpacked is what was checked."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        self.sha256.update(data)
        return data

    def finish(self) -> str:
        """Read to the end; the digest of all."""
        while self.read():
            pass
        return "sha256:" + self.sha256.hexdigest()


def check_image(facts: dict[str, Any]) -> None:
    """Raises: UnfitError — the image is not the one that the recipe names."""
    try:
        with Path(facts["path"]).open("rb") as file:
            refuse_other(facts, DigestingReader(file).finish())
    except OSError as error:
        raise UnfitError(f"the image {facts['path']} cannot be read: {error.strerror}") from error


def refuse_other(facts: dict[str, Any], found: str) -> None:
    """Raises: UnfitError — the file is not the one that was named."""
    if found != facts["digest"]:
        raise UnfitError(f"{facts['path']} was altered: expected {facts['digest']}, found {found}")


# Unpacking


def tree_of(facts: dict[str, Any]) -> Path:
    """The folder of the unpacked environment, in use by this process until its end.

    Raises: UnfitError — the archive is not what it should be, or no disk takes it.
    """
    if facts["unpack"] == "node":
        try:
            return settled(node_folder(), facts, is_node=True)
        except (NoRoomError, OSError) as error:
            print(f"forgia: the environment is unpacked on the shared disk: {error}", file=sys.stderr, flush=True)
    try:
        return settled(Path(facts["shared"]), facts, is_node=False)
    except (NoRoomError, OSError) as error:
        raise UnfitError(f"it cannot be unpacked: {error}") from error


def node_folder() -> Path:
    """Where this user's environments lie on the node."""
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"forgia-{os.getuid()}"  # noqa: S108 — checked to be ours


def settled(folder: Path, facts: dict[str, Any], *, is_node: bool) -> Path:
    """The unpacked tree in this folder, by whichever rank of the node came first.

    Every user of a tree holds its ``.use`` lock, which goes with the process; whoever makes it holds ``.make`` too.
    On a shared disk, where locks may not reach other nodes, nothing of another is taken away.
    """
    private(folder)
    base = hashlib.sha256(os.fsencode(base_interpreter())).hexdigest()
    name = f"{facts['digest'].removeprefix('sha256:')}-{base[:8]}"
    tree = folder / name
    if is_node:
        discard(tree, older_than_s=UNUSED_S)
    use = opened(folder / f"{name}.use")
    locked(use, fcntl.LOCK_SH)
    if not tree.is_dir():
        make = opened(folder / f"{name}.make")
        locked(make, fcntl.LOCK_EX)
        if not tree.is_dir():
            if is_node:
                clear(folder, tree, facts)
            unpack(folder, tree, facts)
        os.close(make)
    os.set_inheritable(use, True)  # the interpreter that this process becomes goes on holding it
    return tree


def private(folder: Path) -> None:
    """Make the folder, ours alone. Raises: NoRoomError — another's lies there: what it holds could be anyone's code."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NoRoomError(f"{folder} can be written by others")


def opened(path: Path) -> int:
    """A lock file's descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def locked(descriptor: int, how: int) -> bool:
    """Take a lock; False: not now. A file system without locks is as good: a tree appears by a rename."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def clear(folder: Path, tree: Path, facts: dict[str, Any]) -> None:
    """Remove what killed unpackers left and, where room is short, the environments that no process uses."""
    for rest in folder.glob(f".{tree.name}.*.part"):
        shutil.rmtree(rest, ignore_errors=True)  # this process has the lock of all who make it
    if lacks_room(folder, facts):
        for lock in folder.glob("*.use"):
            if lock.stem != tree.name:
                discard(folder / lock.stem, older_than_s=0)


def discard(tree: Path, *, older_than_s: float) -> None:
    """Remove a tree that nobody uses and that is old enough."""
    use = opened(tree.with_name(f"{tree.name}.use"))
    with contextlib.suppress(FileNotFoundError):
        is_old = time.time() - tree.lstat().st_ctime >= older_than_s
        if is_old and locked(use, fcntl.LOCK_EX | fcntl.LOCK_NB):
            gone = tree.with_name(f".{tree.name}.{os.getpid()}.part")
            tree.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    os.close(use)


def lacks_room(folder: Path, facts: dict[str, Any]) -> str:
    """A sentence if the unpacked files would not fit; else nothing."""
    free, wanted = shutil.disk_usage(folder).free, facts["unpacked_bytes"] + SPARE_BYTES
    return "" if free >= wanted else f"{folder} has {free / 2**30:.1f} GiB free, {wanted / 2**30:.1f} are needed"


def unpack(folder: Path, tree: Path, facts: dict[str, Any]) -> None:
    """Unpack and check in one pass; nothing has the tree's name before its digest is right.

    Raises: NoRoomError; UnfitError; OSError.
    """
    if sentence := lacks_room(folder, facts):
        raise NoRoomError(sentence)
    part = folder / f".{tree.name}.{platform.node()}-{os.getpid()}.part"
    started = time.monotonic()
    try:
        part.mkdir(mode=0o700)
        extract(Path(facts["path"]), part, facts)
        write_interpreter(part)
        with contextlib.suppress(OSError):  # on a shared disk another node may have been first
            part.rename(tree)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not tree.is_dir():
        raise NoRoomError(f"{tree} cannot be made")
    print(f"forgia: environment unpacked in {time.monotonic() - started:.1f} s: {tree}", file=sys.stderr, flush=True)


def extract(archive: Path, part: Path, facts: dict[str, Any]) -> None:
    """Raises: UnfitError — the archive cannot be read, or is not the one that was named."""
    try:
        file = archive.open("rb")
    except OSError as error:
        raise UnfitError(f"{archive} cannot be read: {error.strerror}; forgia environment build makes it") from error
    with file:
        reader = DigestingReader(file)
        try:
            with tarfile.open(fileobj=reader, mode="r|gz") as tar:  # type: ignore[call-overload]  # it only reads
                members(tar, part, budget=facts["unpacked_bytes"])
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UnfitError(f"{archive} was altered: {error}") from error
        refuse_other(facts, reader.finish())


def members(tar: tarfile.TarFile, part: Path, *, budget: int) -> None:
    """Write each member of an archive that may be anyone's below ``part``. Raises: tarfile.TarError — it will not."""
    made = {part}
    for member in tar:
        place = part / member.name
        budget -= member.size
        if ".." in place.parts or member.name.startswith("/") or budget < 0 or not (member.isfile() or member.issym()):
            raise tarfile.TarError(f"{member.name!r} has no place in it")
        if place.parent not in made:
            place.parent.mkdir(parents=True, exist_ok=True)
            made.add(place.parent)
        if member.issym():
            link_inside(part, place, member.linkname)
        else:
            write_member(tar, member, place)


def link_inside(part: Path, place: Path, target: str) -> None:
    """A link to a neighbour by name. Raises: tarfile.TarError — it leads elsewhere."""
    if "/" in target or target in ("", ".", ".."):
        raise tarfile.TarError(f"{place.relative_to(part)} leads to {target!r}")
    place.symlink_to(target)


def write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    """One file, executable if it was; a name that is there already is refused by the system."""
    mode = 0o700 if member.mode & 0o100 else 0o600
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as target:
        if source := tar.extractfile(member):
            shutil.copyfileobj(source, target, BLOCK)


def base_interpreter() -> Path:
    """The interpreter below the one that runs this, should that be of a virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable))


def write_interpreter(part: Path) -> None:
    """Make it a virtual environment of the interpreter that runs this.

    Source: https://docs.python.org/3/library/site.html (pyvenv.cfg), Python 3.11
    """
    base = base_interpreter()
    (part / "bin").mkdir(exist_ok=True)
    (part / "bin" / "python").symlink_to(base)
    for name in ("python3", f"python3.{sys.version_info.minor}"):
        (part / "bin" / name).symlink_to("python")
    version = ".".join(map(str, sys.version_info[:3]))
    (part / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    )


# Becoming it, or saying why not


def become(tree: Path, arguments: list[str]) -> NoReturn:
    """Go on as the environment's interpreter; no other place for modules is left."""
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE"):
        os.environ.pop(name, None)
    os.environ["VIRTUAL_ENV"] = str(tree)
    os.environ["PYTHONNOUSERSITE"] = "1"
    os.environ["PATH"] = os.pathsep.join([str(tree / "bin"), os.environ.get("PATH", os.defpath)])
    python = str(tree / "bin" / "python")
    os.execv(python, [python, *arguments])  # noqa: S606 — an argument list


def fail(run_dir: Path, reason: str) -> NoReturn:
    """Tell the journal and the other ranks, in the words that forgia's own job uses, and leave."""
    attempt = int(os.environ.get("FORGIA_ATTEMPT") or 1)
    names = ("SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID")
    rank = next((int(os.environ[name]) for name in names if name in os.environ), 0)
    reason = f"the environment cannot be used on node {platform.node()}: {reason}"
    print(f"forgia: {reason}", file=sys.stderr, flush=True)
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    words = {"t": moment, "rank": rank, "host": platform.node(), "kind": "UnfitError", "reason": reason}
    with contextlib.suppress(OSError):
        folder = run_dir / "attempts" / str(attempt)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / f"rank-{rank}.reason").write_text(json.dumps(words), encoding="utf-8")
    line = {"event": "failed", "by": "job", "attempt": attempt, **words}
    descriptor = os.open(run_dir / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
    os.fsync(descriptor)
    sys.exit(UNFIT)


def main(arguments: list[str]) -> None:
    """Check; then, with arguments of python, become the environment's."""
    os.umask(0o077)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a warning before the work has begun; the program listens later
    place = Path(arguments[0]).absolute()
    facts = json.loads(place.read_text(encoding="utf-8"))
    try:
        if facts["kind"] == "image":
            check_image(facts)
            return
        if found := mismatches(facts):
            raise UnfitError("; ".join(found))
        tree = tree_of(facts)
    except UnfitError as error:
        fail(place.parent, str(error))
    if arguments[1:]:
        become(tree, arguments[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
