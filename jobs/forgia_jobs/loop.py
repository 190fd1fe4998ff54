"""The training loop: steps, epochs, the best weights, and a clean stop at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forgia.errors import UserError
from forgia_jobs import batches, checkpoint, scores
from forgia_jobs.checkpoint import Checkpoint
from forgia_jobs.progress import Progress
from forgia_jobs.request import Train
from forgia_jobs.stopping import StopRequest
from forgia_jobs.strategies import Strategy
from forgia_jobs.task import TrainingTask, learning_rate_factor

REPORT_EVERY = {"cpu": 1, "cuda": 16}
"""Steps between two looks at the loss; on a GPU each look waits for the device."""
CHECKPOINTS_NEEDED = 3
"""A last checkpoint may take so many times as long as the slowest so far: at the time limit a disk is often busy."""
EXIT_S = 10.0
"""From the last checkpoint to the end of the process."""
PREDICTION_ROWS = 8192
"""Rows predicted at once."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where checkpoints go, and of which request they are."""

    folder: Path
    identity: str


class TrainingLoop:
    """One network, one training part, one validation part."""

    def __init__(
        self,
        task: TrainingTask,
        strategy: Strategy,
        *,
        train: Train,
        training: Mapping[str, Tensor],
        validation: Mapping[str, Tensor],
        progress: Progress,
        place: Place,
    ) -> None:
        self.task, self.strategy, self.train = task, strategy, train
        self.world = strategy.world
        self.training, self.validation = training, validation
        self.progress, self.place = progress, place
        self.cursor = Cursor()
        self.best: dict[str, Tensor] | None = None
        self.rows = len(training["target"])
        self.steps_per_epoch = batches.steps_per_epoch(self.rows, train.batch_size)
        planned = train.epochs * self.steps_per_epoch
        self.total_steps = min(planned, train.max_steps) if train.max_steps else planned
        self._pending: list[Tensor] = []
        self._report_every = REPORT_EVERY.get(self.world.device.type, 1)
        self._base_rates = [group["lr"] for group in strategy.optimizer.param_groups]
        self._has_schedule = hasattr(task, "schedule")
        self._started = 0.0
        self.slowest_save_s = checkpoint.slowest_s(place.folder)
        self._slowest_round_s = 0.0

    def run(self, stop: StopRequest) -> bool:
        """Train to the end, or to a clean stop; False after a stop, when a checkpoint has been written."""
        self._started = time.perf_counter() - self.cursor.seconds
        self.strategy.model.train()
        order, order_epoch = torch.empty(0, dtype=torch.int64), -1
        while not self.cursor.is_done:
            round_started = time.perf_counter()
            if order_epoch != self.cursor.epoch:
                order_epoch = self.cursor.epoch
                order = batches.epoch_order(self.rows, seed=self.train.seed, epoch=order_epoch)
            self._take_step(order)
            if self._epoch_is_over():
                self._close_epoch()
            if self.cursor.is_done:
                self.save()  # what comes after the training may be interrupted, too
                break
            self._look_ahead(stop, time.perf_counter() - round_started)
            if self.world.any(stop.is_set):
                self.save()
                return False
            if self.cursor.step % self.train.checkpoint_every == 0:
                self.save()
        self.strategy.model.load_state_dict(self.best or self.strategy.model.state_dict())
        return True

    def predict(self, features: Mapping[str, Tensor]) -> npt.NDArray[np.float32]:
        """Predictions of all rows, each rank working on its share.

        Shapes: (rows,).
        """
        mine = batches.slice_of_rank(len(features["numeric"]), rank=self.world.rank, world_size=self.world.size)
        inputs = {name: features[name][mine] for name in ("numeric", "categorical")}
        return self.strategy.gather_metrics(predict(self.task, self.strategy.model, inputs)).numpy()

    def save(self) -> None:
        """Write a checkpoint of this very moment; on every rank at once."""
        began = time.perf_counter()
        self._report()
        self.cursor.metrics_position = self.progress.position()
        self.cursor.seconds = time.perf_counter() - self._started
        state = self.strategy.state()
        own = checkpoint.generator_state(self.world.device)
        generators = {name: self.world.gather(rows) for name, rows in own.items()}
        if self.world.leads:
            found = Checkpoint(
                step=self.cursor.step,
                cursor=asdict(self.cursor),
                model=state["model"],
                optimizer=state["optimizer"],
                best=self.best,
                generators=generators,
            )
            checkpoint.save(self.place.folder, found, identity=self.place.identity)
        self.world.barrier()
        self._measure_save(time.perf_counter() - began)

    def _measure_save(self, seconds: float) -> None:
        """Keep the time of the slowest checkpoint for this attempt and those to come."""
        if seconds > self.slowest_save_s:
            self.slowest_save_s = seconds
            if self.world.leads:
                checkpoint.remember_slowest(self.place.folder, seconds)

    def _look_ahead(self, stop: StopRequest, round_s: float) -> None:
        """Say how much time is to be left for one more step and a checkpoint, as measured so far."""
        self._slowest_round_s = max(self._slowest_round_s, round_s)
        stop.needed_s = self._slowest_round_s + CHECKPOINTS_NEEDED * self.slowest_save_s + EXIT_S

    def resume(self, found: Checkpoint) -> None:
        """Go back to the moment of a checkpoint, and forget the metrics of steps that will be done again."""
        self.strategy.load_state({"model": found.model, "optimizer": found.optimizer})
        device = self.world.device
        self.best = None if found.best is None else {name: tensor.to(device) for name, tensor in found.best.items()}
        self.cursor = Cursor(**found.cursor)
        self.progress.rewind(self.cursor.metrics_position)
        checkpoint.restore_generators(found.generators, rank=self.world.rank, device=device)

    def _epoch_is_over(self) -> bool:
        return self.cursor.step_in_epoch >= self.steps_per_epoch or self.cursor.step >= self.total_steps

    def _take_step(self, order: Tensor) -> None:
        start = self.cursor.step_in_epoch * self.train.batch_size
        batch_rows = order[start : start + self.train.batch_size]
        mine = batches.slice_of_rank(len(batch_rows), rank=self.world.rank, world_size=self.world.size)
        own_rows = batch_rows[mine]
        chosen = (own_rows if len(own_rows) else batch_rows[:1]).to(self.world.device)
        batch = {name: column.index_select(0, chosen) for name, column in self.training.items()}
        if self._has_schedule:
            self._set_learning_rate()
        self._pending.append(self.strategy.step(self.task, batch, rows=len(own_rows), global_rows=len(batch_rows)))
        self.cursor.step += 1
        self.cursor.step_in_epoch += 1
        if len(self._pending) >= self._report_every:
            self._report()

    def _set_learning_rate(self) -> None:
        factor = learning_rate_factor(self.task, self.cursor.step, self.total_steps)
        for group, base in zip(self.strategy.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor

    def _report(self) -> None:
        """Write the losses of the steps since the last report. Raises: UserError — a loss is not a number."""
        if not self._pending:
            return
        first = self.cursor.step - len(self._pending) + 1
        losses = self.world.sum(torch.stack(self._pending)).tolist()
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
        figures = self.task.metrics(self.predict(self.validation), self.validation["target"].cpu().numpy())
        watched, figure = next(iter(figures.items()))
        cursor.epoch += 1
        if cursor.best_figure is None or scores.is_better(watched, figure, cursor.best_figure):
            cursor.best_figure, cursor.best_epoch, cursor.epochs_without_gain = figure, cursor.epoch, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.strategy.model.state_dict().items()}
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
            progress=round(cursor.step / self.total_steps, 4),
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


def predict(task: TrainingTask, model: torch.nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Predictions of these rows on this rank, without gradients and with dropout off.

    Shapes: (rows,), on the CPU.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = [
            task.predict(model, {name: column[start : start + PREDICTION_ROWS] for name, column in inputs.items()})
            .float()
            .cpu()
            for start in range(0, len(inputs["numeric"]), PREDICTION_ROWS)
        ]
    model.train(was_training)
    return torch.cat(parts) if parts else torch.zeros(0)


def final_state(loop: TrainingLoop) -> dict[str, Any]:
    """What is said of a finished training: where the best weights came from, and how long it took."""
    cursor = loop.cursor
    return {
        "steps": cursor.step,
        "epochs": cursor.epoch,
        "best_epoch": cursor.best_epoch,
        "train_seconds": round(cursor.seconds, 3),
        "parameters": sum(parameter.numel() for parameter in loop.strategy.model.parameters()),
    }
