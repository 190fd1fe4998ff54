"""Array jobs on disk: which task is which run, so that any command, and the job itself, can tell one from the other.

A task's line is ``<run id> <attempt> <seal of its task file>``; the file's own digest travels with the submission.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from forgia import digest
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers.protocol import Array
from forgia.store import private_directory, sync_directory, write_atomic

NUMBER_SIGN = "@"
"""Between a sweep's id and the number of its array; in no sweep's id."""


@dataclass(frozen=True, slots=True)
class Member:
    """One task of an array."""

    run_id: str
    attempt: int
    seal: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt stands among the tasks of a sweep's arrays."""

    sweep_id: str
    number: int
    index: int

    def __str__(self) -> str:
        return f"{self.sweep_id}{NUMBER_SIGN}{self.number}_{self.index}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """The inverse of ``str``; None — it is no such text."""
        name, _, index = text.rpartition("_")
        sweep_id, _, number = name.rpartition(NUMBER_SIGN)
        return cls(sweep_id, int(number), int(index)) if number.isdecimal() and index.isdecimal() else None


def write(array: Array, seals: list[str]) -> str:
    """Mark every member's attempt, then write the list of them; returns the seal of the list."""
    for index, (paths, attempt) in enumerate(array.members):
        mark(paths, attempt, Place(array.sweep_id, array.number, index))
    lines = [f"{paths.root.name} {attempt} {seal}" for (paths, attempt), seal in zip(array.members, seals, strict=True)]
    private_directory(array.paths.root)
    write_atomic(array.paths.members, "".join(f"{line}\n" for line in lines))
    return digest.hexadecimal(digest.of_file(array.paths.members))


def mark(paths: RunPaths, attempt: int, place: Place) -> None:
    """Say in a run's folder how this attempt was sent; an attempt is sent once."""
    folder = private_directory(paths.attempt(attempt))
    with contextlib.suppress(FileNotFoundError):
        paths.array(attempt).unlink()
    paths.array(attempt).symlink_to(str(place))
    sync_directory(folder)


def place_of(paths: RunPaths, attempt: int) -> Place | None:
    """How an attempt was sent; None — by itself, or not at all."""
    try:
        return Place.parse(paths.array(attempt).readlink().name)
    except FileNotFoundError:
        return None


def places_of(paths: RunPaths, attempt: int | None) -> list[Place]:
    """The places of one attempt, or of all, oldest first."""
    if attempt is not None:
        numbers = [attempt]
    else:
        folders = paths.attempts.iterdir() if paths.attempts.is_dir() else []
        numbers = sorted(int(folder.name) for folder in folders if folder.name.isdecimal())
    return [place for number in numbers if (place := place_of(paths, number))]


def members(home: HomePaths, sweep_id: str, number: int) -> list[Member]:
    """The tasks of an array in their order; none where there is no such array."""
    try:
        text = home.sweep(sweep_id).array(number).members.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Member(words[0], int(words[1]), words[2]) for words in map(str.split, text.splitlines())]
