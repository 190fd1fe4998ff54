"""Keeps the ray processes of one node for as long as the process that asked for them, and leaves nothing of them.

Run as ``python -m forgia_jobs.under_ray.ray_keeper FOLDER COMMAND... [::: COMMAND...]``. When one of the commands has
ended its exit code is written to the folder; when standard input ends, however that comes about, the folder goes too.
Ray's processes leave each other's groups and sessions, so this one adopts their orphans: what is left is its children.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SEPARATOR = ":::"
"""Between commands."""
ENDED = "ended"
"""In the folder: the exit code of the command that ended first."""
LOG = "keeper.log"
"""In the folder: what the commands printed."""
LOCK = "lock"
"""In the folder: held while it is in use."""
DEAF = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler's notice goes to every process of a job, and would end ray before the checkpoint is written."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Source: linux/prctl.h"""
TICK_S = 0.1
TOLD_BYTES = 4000
"""Of what a command printed that ended badly."""


def main(arguments: Sequence[str]) -> int:
    """Keep the commands; 0 at the end of standard input."""
    folder, commands = Path(arguments[0]), list(split(arguments[1:]))
    signal.pthread_sigmask(signal.SIG_BLOCK, DEAF)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    lock = hold(folder)
    try:
        started = [start(command, folder / LOG) for command in commands]
        if (code := watch(started)) is not None:
            end_children()
            tell(code, folder)
            while not asker_has_gone(60.0):
                pass
    finally:
        end_children()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
    return 0


def split(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The commands."""
    command: list[str] = []
    for argument in [*arguments, SEPARATOR]:
        if argument == SEPARATOR:
            yield command
            command = []
        else:
            command.append(argument)


def hold(folder: Path) -> int:
    """Say that the folder is in use, for as long as this process lives; a descriptor."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def sweep(place: Path, prefix: str) -> None:
    """Remove the folders whose keepers were killed together with all else."""
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def start(command: Sequence[str], log: Path) -> int:
    """Run a command in a session of its own, which does not outlive this process; its process id."""
    own = os.getpid()
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == own:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.execv(command[0], list(command))  # noqa: S606
    finally:
        os._exit(127)


def prctl(option: int, value: int) -> None:
    """Set a property of this process. Raises: OSError — the kernel does not know it."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def watch(started: Sequence[int]) -> int | None:
    """Wait for the end of one of the commands, and give its exit code; None — standard input ended before."""
    while not asker_has_gone(TICK_S):
        for pid, status in reap():
            if pid in started:
                return os.waitstatus_to_exitcode(status)
    return None


def asker_has_gone(patience_s: float) -> bool:
    """Standard input has ended within so many seconds."""
    ready, _, _ = select.select([0], [], [], patience_s)
    return bool(ready) and not os.read(0, 1)


def reap() -> Iterator[tuple[int, int]]:
    """Process id and status of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def end_children() -> None:
    """Kill until there is none: the children of what is killed become this process's own."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def children() -> Iterator[int]:
    """Process ids of this process's children."""
    own = str(os.getpid())
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if words[1] == own:
                    yield int(place.name)


def tell(code: int, folder: Path) -> None:
    """Leave the exit code, and show the end of what the commands printed where it is not that of a good end."""
    if code:
        printed = (folder / LOG).read_bytes()[-TOLD_BYTES:]
        print(printed.decode(errors="replace"), file=sys.stderr, flush=True)
    beside = folder / f".{ENDED}"
    beside.write_text(str(code), encoding="utf-8")
    beside.replace(folder / ENDED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
