"""The checkpoints of a run: everything it needs to go on at the very next row, as tensors and JSON, never as code.

Each is a folder ``step-<number>`` that got its name once all ranks' files were on disk. Names that begin with a dot are
folders in the making, or on their way out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from forgia import store
from forgia.errors import ForgiaError, UserError
from forgia.paths import SLOWEST
from forgia_jobs.checkpoints import checkpoint_manifest


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:09d}"


def slowest_s(folder: Path) -> float:
    """What the slowest checkpoint took, in any attempt; 0 where none was measured."""
    try:
        return float(store.read_json(folder / SLOWEST)["seconds"])
    except (FileNotFoundError, KeyError, TypeError, ValueError, UserError):
        return 0.0


def remember_slowest(folder: Path, seconds: float) -> None:
    """For attempts to come, and for whoever decides how early they are warned."""
    store.write_json(folder / SLOWEST, {"seconds": round(seconds, 3)})


def newest_step(folder: Path) -> int:
    """Step of the newest checkpoint; 0 where there is none."""
    newest = next(newest_first(folder), None)
    return int(newest.name.removeprefix("step-")) if newest else 0


def newest_first(folder: Path) -> Iterator[Path]:
    """The published checkpoints of a run."""
    return iter(sorted(folder.glob("step-*"), reverse=True)) if folder.is_dir() else iter(())


def choose(folder: Path, *, identity: str, attempt: int) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each broken one, which is set aside under another name."""
    sweep(folder)
    notes = []
    for place in newest_first(folder):
        try:
            checkpoint_manifest.verify(place, identity=identity)
        except ForgiaError as error:
            aside = folder / f"broken-{place.name}-attempt-{attempt}"
            place.rename(aside)
            notes.append(f"checkpoint {place.name} is set aside as {aside.name}: {error.message}")
            continue
        return place, notes
    return None, notes


def sweep(folder: Path) -> None:
    """Remove what earlier attempts had begun to write, or to remove, when they were killed."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest; one that is on its way out has no name any more that could be chosen."""
    for old in list(newest_first(folder))[max(keep, 1) :]:
        shutil.rmtree(old.rename(folder / f".{old.name}.old"), ignore_errors=True)
