"""What goes wrong with a cluster's daemons: they freeze, they die, they come back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lab import SlurmLab, end, start_mark, wait_for


def living(lab: SlurmLab, daemon: str) -> tuple[int, str | None]:
    """Process id and start mark of the daemon that runs now."""
    found = [(pid, mark) for name, pid, mark in lab._started() if name == daemon and mark and start_mark(pid) == mark]
    return found[-1]


@contextlib.contextmanager
def frozen(lab: SlurmLab, daemon: str = "slurmctld") -> Iterator[None]:
    """The daemon takes connections and answers none of them."""
    pid, _ = living(lab, daemon)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def without_controller(lab: SlurmLab, *, killed: bool = False) -> Iterator[None]:
    """slurmctld is down; ``killed``: it could not save what it was told in the last seconds."""
    end([living(lab, "slurmctld")], first=signal.SIGKILL if killed else signal.SIGTERM)
    try:
        yield
    finally:
        lab._start_controller()
        wait_for(lab._all_nodes_ready, 30, "every node to register")


@contextlib.contextmanager
def forgetful(lab: SlurmLab) -> Iterator[None]:
    """What slurmctld is told in the block is gone after it, job ids included: it is killed, and saved nothing since."""
    state, kept = lab.root / "spool/ctld", lab.root / "spool/ctld-kept"
    with without_controller(lab):
        shutil.copytree(state, kept)
    yield
    with without_controller(lab, killed=True):
        shutil.rmtree(state)
        kept.rename(state)


@contextlib.contextmanager
def without_accounting(lab: SlurmLab) -> Iterator[None]:
    """slurmdbd is down, so sacct tells nothing."""
    end([living(lab, "slurmdbd")], first=signal.SIGTERM)
    try:
        yield
    finally:
        lab._start_account_keeper()
        wait_for(lambda: lab._answers("sacct", "--allocations", "--noheader"), 30, "sacct")
