"""The machine's process table: whether a process is still the one we mean, and which one runs a command.

Source: proc(5) for Linux; ps(1) of POSIX elsewhere.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from forgia import process
from forgia.errors import ClusterError

PROC = Path("/proc")
STATE, SESSION, START = 0, 3, 19
"""Places in /proc/<pid>/stat after the command's closing bracket."""
PS_TIMEOUT_S = 10.0


LET_GO: list[subprocess.Popen[bytes]] = []


def let_go(started: subprocess.Popen[bytes]) -> None:
    """Nobody waits for this process, and it may outlive us; those that were let go before and have ended are buried."""
    if not LET_GO:
        atexit.register(part)
    LET_GO[:] = [*(one for one in LET_GO if one.poll() is None), started]


def part() -> None:
    """At our own end: what still runs is meant to."""
    for one in LET_GO:
        if one.poll() is None:
            one.returncode = 0  # else Python warns of it


def start_mark(pid: int) -> str | None:
    """What tells this process from a later one of the same number; None when it is gone, or a zombie."""
    if PROC.joinpath("self/stat").exists():
        fields = stat_fields(PROC / str(pid))
        return None if not fields or fields[STATE] in "ZX" else fields[START]
    words = ps("-p", str(pid), "-o", "stat=,lstart=").split()
    if not words or words[0].startswith("Z"):
        return None
    return re.sub(r"\W", "", "".join(words[1:]))


def is_alive(pid: int, mark: str) -> bool:
    """The process that had this mark still runs."""
    return start_mark(pid) == mark


def session_is_alive(leader: int) -> bool:
    """A process of the leader's session still runs, though its leader may be gone (Linux only; elsewhere never)."""
    stats = (stat_fields(place) for place in PROC.glob("[0-9]*"))
    return any(fields and fields[SESSION] == str(leader) and fields[STATE] not in "ZX" for fields in stats)


def commands() -> Iterator[tuple[int, list[str]]]:
    """Every process with its arguments."""
    if PROC.joinpath("self/cmdline").exists():
        for place in PROC.glob("[0-9]*"):
            with contextlib.suppress(OSError):
                yield int(place.name), (place / "cmdline").read_text(errors="replace").removesuffix("\0").split("\0")
        return
    for line in ps("-axo", "pid=,command=").splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.split(" ")


def stat_fields(place: Path) -> list[str]:
    """Fields of a process from its state on; empty when it is gone."""
    try:
        return (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def ps(*arguments: str) -> str:
    """What ps prints; nothing where there is none or no process matches."""
    try:
        return process.run(["ps", *arguments], timeout_s=PS_TIMEOUT_S).stdout
    except ClusterError:
        return ""
