"""A disk of the node's own, by way of which files go to the shared one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems that lie in memory, where what is to be written lies already."""
ROOM = 2
"""A node's disk is used if it has so many times the room: its other ranks write as well."""
MOUNTS = Path("/proc/self/mountinfo")


def scratch_for(folder: Path, size: int) -> Path | None:
    """The folder that ``TMPDIR`` names, if it is another disk than the shared one and has room; else None."""
    place = Path(os.environ.get("TMPDIR", ""))
    try:
        is_fit = place.is_absolute() and place.stat().st_dev != folder.stat().st_dev and not lies_in_memory(place)
        return place if is_fit and shutil.disk_usage(place).free >= ROOM * size else None
    except OSError:
        return None


def lies_in_memory(place: Path) -> bool:
    """Whether a folder's file system is one of memory.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html (6.9): the third field is the device, the
    one behind the lonely dash the type.
    """
    device = place.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    rows = [line.split() for line in MOUNTS.read_text().splitlines()] if MOUNTS.exists() else []
    return any(row[2] == wanted and row[row.index("-") + 1] in MEMORY for row in rows)
