"""A home that a group shares: who may do what in it, and how it is opened and closed again.

Members list each other's runs, read their logs and collect their releases; a run's folder is written by its owner
alone. Markers say so (forgia.store.group_mode), and what is made below them later follows.
"""

from __future__ import annotations

import contextlib
import grp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forgia import store
from forgia.errors import NotFound, Refused, UserError
from forgia.paths import HomePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What was changed."""

    group: str
    entries: int
    """Files and folders below the home."""
    closed_above: tuple[Path, ...] = ()
    """Folders on the way to the home that the group cannot enter."""


def share(home: HomePaths, group: str) -> Opened:
    """Open a home to a group. Safe to repeat.

    Raises: NotFound — no such group. UserError — we are not in it. Refused — the home is another's.
    """
    number = group_id(group)
    store.private_directory(home.root)
    refuse_if_foreign(home.root)
    for folder in (*writable(home), *owned(home), home.local_jobs):
        store.private_directory(folder)
    home.settled_runs.touch(mode=0o600)
    for folder, word in markers(home):
        store.write_atomic(folder / store.SHARED_MARKER, f"{word}\n")
    store.group_mode.cache_clear()
    entries = sum(1 for _ in follow_markers(home.root, number))
    os.chown(home.root, -1, number)
    home.root.chmod(0o2750)  # names directly below it are its owner's: nobody may put another folder in their place
    for folder in owned(home):
        folder.chmod(0o3770)  # sticky: everyone adds runs and sweeps, nobody moves another's away
    home.settled_runs.chmod(0o660)
    return Opened(group=group, entries=entries, closed_above=tuple(closed_to(number, home.root)))


def unshare(home: HomePaths) -> Opened:
    """Close a home again: only its owner reads what lies there. Raises: Refused — the home is another's."""
    refuse_if_foreign(home.root)
    for folder, _ in markers(home):
        (folder / store.SHARED_MARKER).unlink(missing_ok=True)
    store.group_mode.cache_clear()
    entries = sum(1 for _ in follow_markers(home.root, os.getgid()))
    home.root.chmod(store.PRIVATE_DIRECTORY_MODE)
    return Opened(group="", entries=entries)


def markers(home: HomePaths) -> list[tuple[Path, str]]:
    """Folder and word of each marker."""
    return [(home.root, "write"), *((folder, "read") for folder in owned(home)), (home.local_jobs, "write")]


def writable(home: HomePaths) -> tuple[Path, ...]:
    """Folders that every member adds to."""
    return (home.datasets, home.registry, home.quota, home.environments)


def owned(home: HomePaths) -> tuple[Path, ...]:
    """Folders in which every member has entries of its own, and writes in no other."""
    return (home.runs, home.sweeps)


def group_id(group: str) -> int:
    """Raises: NotFound, UserError — we are not in the group."""
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise NotFound("group", group, known=sorted(item.gr_name for item in grp.getgrall())) from error
    if number not in {os.getgid(), *os.getgroups()} and os.getuid() != 0:
        raise UserError(f"you are not in the group {group}", hint="id shows your groups; the site's staff adds members")
    return number


def refuse_if_foreign(folder: Path) -> None:
    """Raises: Refused — the folder is another user's."""
    if folder.stat().st_uid != os.getuid():
        raise Refused(f"{folder} is not yours, so you cannot say who may use it", hint="ask its owner")


def follow_markers(root: Path, group: int) -> Iterator[Path]:
    """Give everything of ours below a folder the group and the permissions that its marker says."""
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            found = path.lstat()
            if found.st_uid != os.getuid() or stat.S_ISLNK(found.st_mode):
                continue
            with contextlib.suppress(FileNotFoundError):  # a job that goes on tidies up after itself
                os.chown(path, -1, group)
                wanted = store.directory_mode(path) if stat.S_ISDIR(found.st_mode) else file_mode(path, found.st_mode)
                path.chmod(wanted)
                yield path


def file_mode(path: Path, before: int) -> int:
    """A file's permissions: its owner's as they were, its group's as its folder says."""
    allowed = store.group_mode(path.parent) & (stat.S_IMODE(before) >> 3)  # nobody gets more than the owner has
    return (stat.S_IMODE(before) & stat.S_IRWXU) | allowed


def closed_to(group: int, path: Path) -> Iterator[Path]:
    """Folders above a path that a member of the group cannot pass through."""
    for folder in path.parents:
        found = folder.stat()
        bit = stat.S_IXGRP if found.st_gid == group else stat.S_IXOTH
        if not found.st_mode & bit:
            yield folder
