"""One checkpoint in the making: what a rank's thread writes, and what the leader's does when all have written."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from forgia import store
from forgia.errors import ClusterError
from forgia_jobs.checkpoints import checkpoint, checkpoint_file, checkpoint_manifest, checkpoint_scratch
from forgia_jobs.checkpoints.checkpoint_copy import Copying
from forgia_jobs.checkpoints.checkpoint_file import DTYPES, CalledOff, Layout
from forgia_jobs.checkpoints.checkpoint_manifest import Held, Manifest, Part, TensorFacts
from forgia_jobs.checkpoints.pieces import Piece, State

LOOK_EVERY_S = 0.1
VISIBLE_WITHIN_S = 300.0
"""What another node has written shows on a shared disk after so long at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where checkpoints go, of what they are, and how many are kept."""

    folder: Path
    identity: str
    """Of the request."""
    strategy: str = "ddp"
    keep: int = 2
    tell_failure: Callable[[Exception], None] = lambda _: None
    """Called on a rank that cannot write, before the other ranks hear of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A training between two steps, as one rank knows it."""

    step: int
    cursor: Mapping[str, Any]
    """The loop's own numbers; JSON."""
    state: State
    best: tuple[Piece, ...] = ()
    """Weights with the best figure so far; these tensors do not change any more."""
    best_epoch: int = 0
    """Tells one best from another."""
    began: float = field(default_factory=time.perf_counter)
    """When the training stood still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A checkpoint on its way to the disk."""

    place: Place
    rank: int
    world_size: int
    step: int
    cursor: Mapping[str, Any]
    scalars: Mapping[str, Any]
    token: str
    """Of this training; what a killed one has left has another."""
    facts: Mapping[str, TensorFacts]
    """Of the tensors that are copied."""
    layout: Layout
    copying: Copying
    """Their bytes as they were; when it is done, nothing here refers to what is being trained."""
    best: tuple[Piece, ...]
    same_best: Path | None
    """An earlier file of this rank with the same best weights."""
    began: float
    call_off: Event = field(default_factory=Event)
    all_written: Event = field(default_factory=Event)
    """Set when every rank is known to have written its part."""

    @property
    def final(self) -> Path:
        """The folder when it counts."""
        return self.place.folder / checkpoint.name_of(self.step)

    @property
    def beside(self) -> Path:
        """The folder until then."""
        return self.place.folder / f".{checkpoint.name_of(self.step)}.{self.token}.part"


def rank_file(rank: int) -> str:
    """A rank's tensors."""
    return f"rank-{rank:05d}.safetensors"


def best_file(rank: int) -> str:
    """A rank's part of the best weights."""
    return f"best-{rank:05d}.safetensors"


def part_file(rank: int) -> str:
    """A rank's word that the other two are on disk; gone when the folder gets its name."""
    return f"rank-{rank:05d}.json"


def write_part(making: Making) -> None:
    """Write this rank's files, or leave none. Raises: OSError — the disk refuses. CalledOff."""
    making.copying.finish()  # the training may be waiting
    store.private_directory(making.beside)
    names = rank_file(making.rank), best_file(making.rank)
    try:
        blocks = [checkpoint_file.bytes_of(making.copying.block)]
        files = {names[0]: _write(making, names[0], making.layout, blocks)}
        if making.best:
            files[names[1]] = _write_best(making, names[1])
        tensors = {**making.facts, **facts(making.best, names[1])}
        store.sync_directory(making.beside)
        checkpoint_manifest.write_part(making.beside / part_file(making.rank), Part(files=files, tensors=tensors))
    except BaseException:
        for name in names:
            with contextlib.suppress(OSError):
                (making.beside / name).unlink(missing_ok=True)  # room for what else has to be said
        raise


def _write_best(making: Making, name: str) -> str:
    """Another name for the file of the last checkpoint where the weights are the same; else a file."""
    path = making.beside / name
    if making.same_best:
        with contextlib.suppress(OSError):
            os.link(making.same_best, path)
            return checkpoint_manifest.read(making.same_best.parent).files[name]
    tensors = {piece.name: piece.tensor for piece in making.best}
    layout = checkpoint_file.arrange(tensors)
    return _write(making, name, layout, (checkpoint_file.bytes_of(tensors[known]) for known in layout.spans))


def _write(making: Making, name: str, layout: Layout, blocks: Iterable[memoryview]) -> str:
    scratch = checkpoint_scratch.scratch_for(making.place.folder, layout.size)
    return checkpoint_file.write(making.beside / name, layout, blocks, call_off=making.call_off, scratch=scratch)


def facts(pieces: Iterable[Piece], file: str) -> dict[str, TensorFacts]:
    """What the manifest says of the pieces in a file."""
    return {piece.name: _facts_of(piece, file) for piece in pieces}


def _facts_of(piece: Piece, file: str) -> TensorFacts:
    shape = tuple(piece.tensor.shape)
    held = Held(file, piece.offset, None if piece.rows is None else shape[0])
    whole = shape if piece.rows is None else (piece.rows, *shape[1:])
    return TensorFacts(dtype=DTYPES[piece.tensor.dtype], shape=whole, held=(held,))


def publish(making: Making, before: Callable[[], None]) -> None:
    """Make the parts of all ranks a checkpoint, and remove those that are too many; on the leader.

    Args: before — what has to be on disk before the checkpoint counts.
    Raises: OSError, IntegrityError, ClusterError — it does not count. CalledOff.
    """
    wait_for_parts(making)
    own = [making.beside / part_file(rank) for rank in range(making.world_size)]
    merged = checkpoint_manifest.merge(map(checkpoint_manifest.read_part, own))
    for path in own:
        path.unlink()
    before()
    checkpoint_manifest.write(making.beside, _manifest(making, merged))
    making.beside.rename(making.final)
    store.sync_directory(making.place.folder)
    checkpoint.prune(making.place.folder, keep=making.place.keep)


def _manifest(making: Making, merged: Part) -> Manifest:
    return Manifest(
        request=making.place.identity,
        step=making.step,
        world_size=making.world_size,
        strategy=making.place.strategy,
        cursor=making.cursor,
        scalars=making.scalars,
        files=merged.files,
        tensors=merged.tensors,
    )


def wait_for_parts(making: Making) -> None:
    """Until every rank's word is there.

    Raises: CalledOff. ClusterError — all ranks have written, and it does not show here.
    """
    wanted, deadline = {part_file(rank) for rank in range(making.world_size)}, None
    while missing := wanted - {path.name for path in making.beside.iterdir()}:
        if making.call_off.wait(LOOK_EVERY_S):
            raise CalledOff
        if making.all_written.is_set():
            deadline = deadline or time.monotonic() + VISIBLE_WITHIN_S
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{', '.join(sorted(missing)[:3])} was written, but does not show in {making.beside} "
                    f"within {VISIBLE_WITHIN_S:.0f} s",
                    transient=True,
                    hint="is the run's folder on a disk that all nodes share?",
                )


def clear_away(making: Making) -> None:
    """Remove a folder that will get no name."""
    shutil.rmtree(making.beside, ignore_errors=True)
