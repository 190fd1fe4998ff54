"""The training loop: steps, epochs, the best weights, and a clean stop at any step."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forgia.errors import UserError
from forgia_jobs import predicting
from forgia_jobs.checkpoints import generators
from forgia_jobs.checkpoints.checkpoint_making import Moment, Place
from forgia_jobs.checkpoints.checkpoint_reader import Reader
from forgia_jobs.checkpoints.checkpoint_writer import Writer
from forgia_jobs.judging import scores
from forgia_jobs.progress import Progress
from forgia_jobs.request import Privacy, Train
from forgia_jobs.samples import Samples, batches
from forgia_jobs.samples.batches import Order
from forgia_jobs.samples.feed import Feed
from forgia_jobs.spending.meters import Meter
from forgia_jobs.stopping import StopRequest
from forgia_jobs.strategies import Share, Strategy
from forgia_jobs.task import TrainingTask, learning_rate_factor

REPORT_EVERY = {"cpu": 1, "cuda": 16}
"""Steps between two looks at the loss; on a GPU each look waits for the device."""
CHECKPOINTS_NEEDED = 3
"""A last checkpoint may take so many times as long as the slowest so far: at the time limit a disk is often busy."""
EXIT_S = 10.0
"""From the last checkpoint to the end of the process."""


@dataclass(slots=True, kw_only=True)
class Cursor:
    """Where the loop stands, between two steps; all that a checkpoint keeps besides tensors."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    step_in_epoch: int = 0
    epoch_loss: float = 0.0
    """Sum of the epoch's losses so far."""
    best_figure: float | None = None
    best_epoch: int = 0
    epochs_without_gain: int = 0
    is_done: bool = False
    seconds: float = 0.0
    """Training time of all attempts, as far as it was kept."""
    metrics_position: int = 0
    """Bytes of metrics.jsonl that belong to the steps done."""


class TrainingLoop:
    """One network, one training part, one validation part."""

    def __init__(
        self,
        task: TrainingTask,
        strategy: Strategy,
        *,
        train: Train,
        training: Samples,
        validation: Samples,
        progress: Progress,
        place: Place,
        meter: Meter | None = None,
    ) -> None:
        self.task, self.strategy, self.train = task, strategy, train
        self.world = strategy.world
        self.training, self.validation = training, validation
        self.progress = progress
        self.writer = Writer(place, self.world, optimizer=strategy.optimizer, before_publishing=progress.keep)
        self.meter = meter or Meter(world=self.world)
        self.cursor = Cursor()
        self.best: Any = None
        """The strategy's snapshot of the best weights so far."""
        self.rows = len(training)
        self.order = self._make_order()
        self.feed = Feed(self._read, is_ahead=training.is_costly, device=self.world.device)
        self.steps_per_epoch = batches.steps_per_epoch(self.rows, train.batch_size)
        planned = train.epochs * self.steps_per_epoch
        self.total_steps = min(planned, train.max_steps) if train.max_steps else planned
        self._pending: list[Tensor] = []
        self._report_every = REPORT_EVERY.get(self.world.device.type, 1)
        self._base_rates = [group["lr"] for group in strategy.optimizer.param_groups]
        self._has_schedule = hasattr(task, "schedule")
        self._started = 0.0
        self._slowest_round_s = 0.0

    def run(self, stop: StopRequest) -> bool:
        """Train to the end, or to a clean stop; False after a stop, when a checkpoint has been written."""
        self._started = time.perf_counter() - self.cursor.seconds
        self.strategy.model.train()
        while not self.cursor.is_done:
            round_started = time.perf_counter()
            self._take_step()
            if self._epoch_is_over():
                self.world.barrier()  # one that hangs is missed here, in bounded time, and not within a GPU's kernels
                self._close_epoch()
            if self.cursor.is_done:
                self.save()  # what comes after the training may be interrupted, too
                break
            self._look_ahead(stop, time.perf_counter() - round_started)
            is_stopped, has_failed = self.world.any_of(stop.is_set, self.writer.has_failed)
            if len(self._pending) >= self._report_every:
                self._report()
            if is_stopped:
                self.save()
            if is_stopped or has_failed:
                self.writer.finish()
                return False
            if self.cursor.step % self.train.checkpoint_every == 0:
                self.save()
        self.writer.finish()
        if self.best is not None:
            self.strategy.restore(self.best)
        return True

    def predict(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Predictions of all of a part's samples, each rank working on its share."""
        part = predicting.predict(self.task, self.strategy.model, samples, world=self.world)
        return self.strategy.gather_metrics(part).numpy()

    def save(self) -> None:
        """Begin a checkpoint of this very moment, on every rank at once; ``writer.finish`` waits until it counts."""
        self.writer.finish()
        began = time.perf_counter()
        self._report()
        self.cursor.metrics_position = self.progress.position()
        self.cursor.seconds = time.perf_counter() - self._started
        self.writer.begin(
            Moment(
                step=self.cursor.step,
                cursor=asdict(self.cursor),
                state=self.strategy.state(),
                best=() if self.best is None else tuple(self.strategy.pieces_of(self.best)),
                best_epoch=self.cursor.best_epoch,
                began=began,
            )
        )

    def close(self) -> None:
        """Let go of feed and writer, whatever they have begun."""
        self.feed.close()
        self.meter.close()
        self.writer.close()

    def _look_ahead(self, stop: StopRequest, round_s: float) -> None:
        """Say how much time is to be left for one more step and a checkpoint, as measured so far.

        One that is in the making has to be done before the last.
        """
        self._slowest_round_s = max(self._slowest_round_s, round_s)
        checkpoints = CHECKPOINTS_NEEDED + self.writer.is_busy
        stop.needed_s = self._slowest_round_s + checkpoints * self.writer.slowest_s + EXIT_S

    def resume(self, found: Reader) -> None:
        """Go back to the moment of a checkpoint, and forget the metrics of steps that will be done again.

        Where it was written by another number of ranks, the generators get new seeds.
        """
        self.strategy.load_state(found)
        self.cursor = Cursor(**found.manifest.cursor)
        self.best = self.strategy.snapshot_from(found) if self.cursor.best_epoch else None
        self.progress.rewind(self.cursor.metrics_position)
        rank, device = self.world.rank, self.world.device
        own = found.generators(rank) if found.manifest.world_size == self.world.size else {}
        if not generators.restore(own, device=device):
            generators.seed_again(seed=self.train.seed, step=self.cursor.step, rank=rank)

    def _make_order(self) -> Order:
        if self.train.privacy is None:
            return batches.Shuffled(self.rows, batch_size=self.train.batch_size, seed=self.train.seed)
        seed = self.world.from_leader(secrets.randbits(62))
        return batches.Drawn(self.rows, batch_size=self.train.batch_size, seed=seed)

    @property
    def share_done(self) -> float:
        """Of the steps planned, between 0 and 1."""
        return round(self.cursor.step / self.total_steps, 4)

    def _epoch_is_over(self) -> bool:
        return self.cursor.step_in_epoch >= self.steps_per_epoch or self.cursor.step >= self.total_steps

    def _take_step(self) -> None:
        number = self.cursor.epoch * self.steps_per_epoch + self.cursor.step_in_epoch
        if self._has_schedule:
            self._set_learning_rate()
        with self.meter.step():
            with self.meter.waiting():
                shares, global_rows = self.feed.take(number, last=self.total_steps - 1)
            self._pending.append(self.strategy.step(self.task, shares, global_rows=global_rows))
        self.meter.samples += global_rows
        self.cursor.step += 1
        self.cursor.step_in_epoch += 1

    def _read(self, number: int) -> tuple[list[Share], int]:
        """This rank's micro-batches of a step, counted from 0 over all epochs, and the rows of all ranks."""
        rows = self.order.rows(*divmod(number, self.steps_per_epoch))
        mine = batches.slice_of_rank(len(rows), rank=self.world.rank, world_size=self.world.size)
        return [self._share(part) for part in torch.tensor_split(rows[mine], self.train.accumulate)], len(rows)

    def _share(self, rows: Tensor) -> Share:
        """A rank without rows shows one that does not count: it takes part in what all do together."""
        return Share(self.training.batch(rows if len(rows) else torch.zeros(1, dtype=torch.int64)), len(rows))

    def _set_learning_rate(self) -> None:
        factor = learning_rate_factor(self.task, self.cursor.step, self.total_steps)
        for group, base in zip(self.strategy.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor

    def _report(self) -> None:
        """Write the losses of the steps since the last report. Raises: UserError — a loss is not a number."""
        if not self._pending:
            return
        first = self.cursor.step - len(self._pending) + 1
        with self.meter.counting():
            losses = self.world.sum_in_order(torch.stack(self._pending)).tolist()
        self._pending.clear()
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} at step {step}",
                    hint="lower train.learning_rate or set train.gradient_clip",
                )
            self.cursor.epoch_loss += loss
            share = round(step / self.total_steps, 4)
            self.progress.write("step", step=step, epoch=self.cursor.epoch + 1, loss=loss, progress=share)

    def _close_epoch(self) -> None:
        """Look at the validation part, keep the best weights, decide whether to go on."""
        self._report()
        cursor = self.cursor
        figures = self.task.metrics(self.predict(self.validation), self.validation.target.cpu().numpy())
        watched, figure = next(iter(figures.items()))
        cursor.epoch += 1
        if scores.is_better(watched, figure, cursor.best_figure):
            cursor.best_figure, cursor.best_epoch, cursor.epochs_without_gain = figure, cursor.epoch, 0
            self.best = self.strategy.snapshot()
        else:
            cursor.epochs_without_gain += 1
        loss = cursor.epoch_loss / max(cursor.step_in_epoch, 1)
        cursor.epoch_loss, cursor.step_in_epoch = 0.0, 0
        is_stale = 0 < self.train.patience <= cursor.epochs_without_gain
        cursor.is_done = is_stale or cursor.step >= self.total_steps
        cursor.seconds = time.perf_counter() - self._started
        self.progress.write(
            "epoch",
            epoch=cursor.epoch,
            step=cursor.step,
            steps=self.total_steps,
            loss=loss,
            validation={name: float(value) for name, value in figures.items()},
            best_epoch=cursor.best_epoch,
            seconds=round(cursor.seconds, 3),
            progress=self.share_done,
        )
        if self.world.leads:
            self._tell(loss, figures)

    def _tell(self, loss: float, figures: Mapping[str, float]) -> None:
        """A line for a person who reads the log; programs read metrics.jsonl."""
        cursor = self.cursor
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        best = ", the best so far" if cursor.epochs_without_gain == 0 else ""
        print(
            f"epoch {cursor.epoch}, step {cursor.step} of {self.total_steps}: loss {loss:.4g}, {told}{best}", flush=True
        )


def final_state(loop: TrainingLoop, model: torch.nn.Module) -> dict[str, Any]:
    """What is said of a finished training: where the best weights came from, and how long it took."""
    cursor, asked = loop.cursor, loop.train.privacy
    return {
        "steps": cursor.step,
        "epochs": cursor.epoch,
        "best_epoch": cursor.best_epoch,
        "train_seconds": round(cursor.seconds, 3),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "learnt": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        **({"privacy": spent_privacy(loop, asked)} if asked else {}),
    }


def spent_privacy(loop: TrainingLoop, asked: Privacy) -> dict[str, float]:
    """What the weights may tell of one training sample, at most, and by which settings."""
    from forgia_jobs.strategies.private import epsilon  # Opacus is only there where it is asked for

    rate = min(loop.train.batch_size / loop.rows, 1.0)
    spent = epsilon(asked, sample_rate=rate, steps=loop.cursor.step)
    return {"epsilon": spent, "delta": asked.delta, "noise": asked.noise, "clip": asked.clip, "sample_rate": rate}
