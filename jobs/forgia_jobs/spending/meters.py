"""What a training does with its time: samples and tokens a second, arithmetic, waiting for data, talking to others."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import profiler
from torch.utils.flop_counter import FlopCounterMode

from forgia_jobs import determinism
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.task import TrainingTask

COUNTED_SAMPLES = 2
"""A step on so few is counted; the operations of the others are the same."""
WATCHED_STEPS = range(4, 7)
"""Steps of an attempt, from 1, in which the collectives are timed: after the first ones, which are slow."""
SILENT = "99"
"""Source: libkineto's output_base.h (pytorch/kineto, 2026): VERBOSE -1 to USDT, the highest, which torch 2.13 shows."""
COLLECTIVES = {"cpu": ("gloo:",), "cuda": ("ncclDevKernel", "ncclKernel")}
"""How torch's profiler names them, by device: on a GPU the kernels alone, whose time their other names tell again."""
OPERATIONS_PER_CLOCK = {
    (7, 0): {"fp32": 128},
    (8, 0): {"bf16": 2048, "fp32": 128},
    (9, 0): {"bf16": 4096, "fp32": 256},
}
"""Compute capability → floating-point operations of one multiprocessor in one clock, dense; a multiply-add is two.

Source: NVIDIA's white papers on Volta (WP-08608), Ampere A100 (V1.0) and Hopper H100 (V1.04): 108 multiprocessors at
1.41 GHz make the 312 TFLOPS of bf16 that the A100's data sheet states, 132 at 1.83 GHz the 989 of the H100 SXM.
"""
CLOCK_KHZ = {(7, 0): 1_530_000, (8, 0): 1_410_000, (9, 0): 1_830_000}
"""Compute capability → the clock of those data sheets; devices name a higher one that they do not keep up."""


@dataclass(slots=True, kw_only=True)
class Meter:
    """The counters of one attempt on one rank; figures are of all ranks."""

    world: World
    steps: int = 0
    samples: int = 0
    """Of all ranks."""
    tokens_per_sample: int = 0
    """0 where samples are no text."""
    seconds: float = 0.0
    """From the first step on, without checkpoints and validations; what a GPU takes counts where it is waited for."""
    waited_s: float = 0.0
    """For batches, on this rank."""
    flops_per_sample: float | None = None
    """Forward and backward."""
    collective_share: float | None = None
    """Of the watched steps, on this rank: a collective was under way, waiting for slower ranks included."""
    _watching: Any = field(default=None, repr=False)
    _watched_since: float = 0.0

    def count_flops(self, task: TrainingTask, model: nn.Module, batch: Mapping[str, Tensor]) -> None:
        """Count the operations of a small step on the bare network; weights, buffers, generators stay as they are."""
        few = {name: column[:COUNTED_SAMPLES] for name, column in batch.items()}
        with determinism.rehearsing(model, self.world.device), FlopCounterMode(display=False) as counter:
            torch.autograd.backward(task.loss(model, few))
        model.zero_grad(set_to_none=True)
        self.flops_per_sample = counter.get_total_flops() / len(next(iter(few.values()))) or None
        self.tokens_per_sample = few["tokens"].shape[1] if "tokens" in few else 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Time a step."""
        self.steps += 1
        if self.world.size > 1 and self.steps == WATCHED_STEPS[0]:
            self._watch()
        with self.counting():
            yield
            is_watched = self._watching is not None and self.steps == WATCHED_STEPS[-1]
            if is_watched and self.world.device.type == "cuda":
                torch.cuda.synchronize(self.world.device)
        if is_watched:
            self._end_watch()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Time what belongs to the steps."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Let go of a watch that a stop has cut short."""
        if self._watching is not None:
            self._end_watch()

    def _watch(self) -> None:
        # Only torch's newer profiler knows a GPU's own times. Either writes lines of its own to the log, which this
        # level (read when a profiler begins) leaves out.
        os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)
        is_cuda = self.world.device.type == "cuda"
        self._watching = profiler.profile(use_kineto=is_cuda, use_device="cuda" if is_cuda else None)
        self._watching.__enter__()
        self._watched_since = time.perf_counter()

    def _end_watch(self) -> None:
        taken, kind = time.perf_counter() - self._watched_since, self.world.device.type
        watch, self._watching = self._watching, None
        watch.__exit__(None, None, None)
        of_device, names = "self_device_time_total" if kind == "cuda" else "cpu_time_total", COLLECTIVES[kind]
        busy_us = sum(getattr(event, of_device) for event in watch.key_averages() if event.key.startswith(names))
        self.collective_share = min(busy_us / 1e6 / taken, 1.0)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time a wait for the next batch, within a step."""
        began = time.perf_counter()
        yield
        self.waited_s += time.perf_counter() - began

    def speed(self, *, precision: str) -> dict[str, float]:
        """What is known of the steps so far; what cannot be known is missing."""
        if not self.seconds or not self.samples:
            return {}
        rate = self.samples / self.seconds
        found = {"samples_per_s": rate, "data_wait_share": self.waited_s / self.seconds}
        if self.tokens_per_sample:
            found["tokens_per_s"] = rate * self.tokens_per_sample
        if self.collective_share is not None:
            found["collective_share"] = self.collective_share
        if self.flops_per_sample:
            found["tflops"] = rate * self.flops_per_sample / 1e12
            if peak := peak_flops(self.world.device, precision):
                found["flop_utilisation"] = rate * self.flops_per_sample / (peak * self.world.size)
        return {name: float(f"{value:.4g}") for name, value in found.items()}


def peak_flops(device: torch.device, precision: str) -> float | None:
    """What the device could do at most, operations a second; None where it is not known, as for CPUs."""
    if device.type != "cuda":
        return None
    known = torch.cuda.get_device_properties(device)
    kind = known.major, known.minor
    per_clock = OPERATIONS_PER_CLOCK.get(kind, {}).get(precision)
    if not per_clock:
        return None
    clock_khz = min(getattr(known, "clock_rate", CLOCK_KHZ[kind]), CLOCK_KHZ[kind])
    return float(per_clock * known.multi_processor_count * clock_khz * 1e3)
