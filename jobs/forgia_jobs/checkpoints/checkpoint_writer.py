"""Writing checkpoints while the training goes on: it stands still for a copy in memory, a thread does the rest.

Every rank writes what it has, beside the final name, and says so by a small file. The leader's thread waits for those
of all ranks, writes the manifest and gives the folder its name; only then does the checkpoint count. No thread takes
part in a collective: whether a rank has failed is agreed upon between two steps.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

import torch

from forgia.errors import ClusterError
from forgia_jobs import devices
from forgia_jobs.checkpoints import checkpoint, checkpoint_file, checkpoint_making, generators
from forgia_jobs.checkpoints.checkpoint_copy import Copying, Memory
from forgia_jobs.checkpoints.checkpoint_file import CalledOff
from forgia_jobs.checkpoints.checkpoint_making import Making, Moment, Place
from forgia_jobs.checkpoints.pieces import Piece
from forgia_jobs.meeting.rendezvous import ANOTHER_FAILED, World

LATE = "optimizer/"
"""Tensors that only an optimizer's step changes, whatever a task does in its loss."""


class Writer:
    """One rank's side of a training's checkpoints; at most one is in the making."""

    def __init__(
        self,
        place: Place,
        world: World,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        before_publishing: Callable[[], None] = lambda: None,
    ) -> None:
        """The state of an ``optimizer`` is copied beside the training: nothing but its next step changes it."""
        self.place, self.world = place, world
        self._before_publishing = before_publishing
        self._late = () if optimizer is None else (LATE,)
        if optimizer is not None:
            optimizer.register_step_pre_hook(self._before_step)
        self._memory = Memory(world.device)
        self._thread = devices.thread(world.device, name="checkpoint")
        self._slowest_s = checkpoint.slowest_s(place.folder)
        self._token = ""
        self._making: Making | None = None
        self._tasks: list[Future[None]] = []
        self._best_epoch = 0
        self._best: tuple[int, Path | None] = (0, None)
        """Which best weights the last checkpoint has, and in which file of this rank."""

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is in the making."""
        return any(not task.done() for task in self._tasks)

    @property
    def has_failed(self) -> bool:
        """Whether this rank could not write; to be agreed upon with the others, and then ``finish`` says why."""
        return any(task.done() and task.exception() is not None for task in self._tasks)

    @property
    def slowest_s(self) -> float:
        """From the copy to the name, of the slowest so far; one that is not done counts with its age."""
        age_s = time.perf_counter() - self._making.began if self._making and self.is_busy else 0.0
        return max(self._slowest_s, age_s)

    def begin(self, moment: Moment) -> None:
        """Copy what is to be written, and leave the rest to the thread; on every rank (collective).

        Raises: as ``finish`` — of the checkpoint before.
        """
        self.finish()
        if not self._token:
            self._token = f"{self.world.from_leader(secrets.randbits(48)):012x}"
        self._making = making = self._copied(moment)
        self._tasks = [self._thread.submit(checkpoint_making.write_part, making)]
        if self.world.leads:
            self._tasks.append(self._thread.submit(self._publish, making))

    def finish(self) -> None:
        """Wait for the checkpoint in the making until it counts; on every rank (collective).

        Raises: ForgiaError — it does not: this rank's own reason, or a word that another has failed.
        """
        if self._making is None:
            return
        self._agree(self._making, self._tasks[:1])
        self._making.all_written.set()
        self._agree(self._making, self._tasks[1:])
        if self._making.best:
            self._best = self._best_epoch, self._making.final / checkpoint_making.best_file(self.world.rank)
        self._making, self._tasks = None, []

    def close(self) -> None:
        """Let go of the thread; a checkpoint that does not count yet never will."""
        if self._making is not None:
            self._call_off(self._making)
        self._thread.shutdown()
        self._memory.close()

    def _before_step(self, *_: object) -> None:
        """In front of an optimizer's step."""
        if self._making is not None:
            self._making.copying.wait()

    def _copied(self, moment: Moment) -> Making:
        rank = self.world.rank
        own = generators.states(self.world.device)
        pieces = [*moment.state.pieces, *(Piece(name=generators.name_of(rank, kind), tensor=own[kind]) for kind in own)]
        tensors = {piece.name: piece.tensor for piece in pieces}
        layout = checkpoint_file.arrange(tensors)
        block, late = self._memory.take(layout.size), [name for name in tensors if name.startswith(self._late)]
        self._best_epoch, is_same = moment.best_epoch, self._best[0] == moment.best_epoch
        return Making(
            place=self.place,
            rank=rank,
            world_size=self.world.size,
            step=moment.step,
            cursor=moment.cursor,
            scalars=moment.state.scalars,
            token=self._token,
            facts=checkpoint_making.facts(pieces, checkpoint_making.rank_file(rank)),
            layout=layout,
            copying=Copying(block, layout, tensors, late=late, device=self.world.device),
            best=moment.best,
            same_best=self._best[1] if is_same else None,
            began=moment.began,
        )

    def _publish(self, making: Making) -> None:
        """On the leader's thread."""
        checkpoint_making.publish(making, self._before_publishing)
        seconds = time.perf_counter() - making.began
        if seconds > self._slowest_s:
            self._slowest_s = seconds
            checkpoint.remember_slowest(self.place.folder, seconds)

    def _agree(self, making: Making, tasks: list[Future[None]]) -> None:
        """Wait for this rank's tasks, and go on only if no rank has failed."""
        failure = next((error for task in tasks if (error := task.exception())), None)
        if not self.world.any(failure is not None):
            return
        error = explain(failure, making)
        if failure is not None:
            self.place.tell_failure(error)
        self._call_off(making)
        self.world.barrier()  # the reason is on disk before another rank ends by it
        raise error from failure

    def _call_off(self, making: Making) -> None:
        making.call_off.set()
        wait(self._tasks)
        if self.world.leads:
            checkpoint_making.clear_away(making)
        self._making, self._tasks = None, []


def explain(failure: BaseException | None, making: Making) -> Exception:
    """What is told of a checkpoint that does not count; None: the failure is another rank's."""
    if failure is None or isinstance(failure, CalledOff):
        return ClusterError(ANOTHER_FAILED, transient=False)
    if isinstance(failure, OSError):
        last = checkpoint.newest_step(making.place.folder)
        hint = "make room, then forgia job retry " + (
            f"goes on from the checkpoint of step {last}, which is kept"
            if last
            else "begins anew: it was the first one"
        )
        return ClusterError(
            f"the checkpoint of step {making.step} cannot be written: {failure}", transient=False, hint=hint
        )
    return failure if isinstance(failure, Exception) else RuntimeError(repr(failure))
