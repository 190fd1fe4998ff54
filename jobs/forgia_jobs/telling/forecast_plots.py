"""Pictures of forecasts: a stretch of the test part as it was foretold, and how the error grows with the step ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot
from matplotlib.axes import Axes

from forgia_jobs.judging import quantiles
from forgia_jobs.judging.evaluate import Predictions
from forgia_jobs.samples import Positions
from forgia_jobs.samples.data import Data
from forgia_jobs.telling import drawing

FAN_INCH = (9.0, 4.0)
SHOWN_DAYS = 10
DAY_US = 24 * 3600 * 1_000_000


def draw(folder: Path, data: Data, *, model: Predictions, other: Predictions | None, name: str | None) -> list[Path]:
    """Both pictures. Args: other, name — the best baseline."""
    paths = [folder / "fan.png", folder / "by-step.png"]
    figure, axes = pyplot.subplots(figsize=FAN_INCH)
    _fan(axes, data, model["test"])
    drawing.save(paths[0], figure)
    figure, axes = pyplot.subplots(figsize=drawing.SIZE_INCH)
    _by_step(axes, data, "model", drawing.MODEL, found=model["test"])
    if other is not None:
        _by_step(axes, data, name or "baseline", drawing.BASELINE, found=other["test"])
    axes.set(xlabel="steps ahead", ylabel=f"pinball loss{_unit(data)}")
    axes.set_ylim(bottom=0)
    axes.legend()
    drawing.save(paths[1], figure)
    return paths


def following(ends: Positions, *, horizon: int, rows: int) -> Positions:
    """Windows whose horizons lie one after the other for so many rows, from the middle of these on.

    Args: ends — last rows of history, ascending. Shapes: (windows,) to (chosen,), positions in ``ends``.
    """
    start = max(0, min(len(ends) // 2, int(np.searchsorted(ends, ends[-1] - rows))))
    chosen = [start]
    for place in range(start + 1, len(ends)):
        if ends[place] - ends[start] >= rows:
            break
        if ends[place] - ends[chosen[-1]] >= horizon:
            chosen.append(place)
    return np.asarray(chosen, dtype=np.int64)


def _fan(axes: Axes, data: Data, found: npt.NDArray[Any]) -> None:
    """The series with the greatest load: what was foretold at some moments, each for the steps up to the next."""
    source: Any = data.source
    ends, truth = source.ends.numpy()[data.split.test], data.targets("test")
    series = np.cumsum(np.append(0, np.diff(ends) > source.frame.length + truth.shape[1]))
    largest = int(np.argmax(np.bincount(series, weights=truth.mean(axis=1)) / np.bincount(series)))
    own = np.flatnonzero(series == largest)
    days = source.frame.step_us / DAY_US
    windows = own[following(ends[own], horizon=truth.shape[1], rows=int(SHOWN_DAYS / days))]
    levels = data.spec.quantiles
    for number, window in enumerate(windows):
        at = (ends[window] - ends[windows[0]] + np.arange(1, truth.shape[1] + 1)) * days
        outer = f"{levels[0]:g} to {levels[-1]:g}" if number == 0 else None
        axes.fill_between(at, found[window, :, 0], found[window, :, -1], color=drawing.MODEL, alpha=0.25, label=outer)
        middle = f"quantile {levels[len(levels) // 2]:g}" if number == 0 else None
        axes.plot(at, found[window, :, len(levels) // 2], color=drawing.MODEL, label=middle)
        axes.plot(at, truth[window], color="black", linewidth=0.9, label="true" if number == 0 else None)
        axes.axvline(at[0], color=drawing.QUIET, linestyle=":", linewidth=0.7)
    axes.set(xlabel="days", ylabel=f"{data.spec.target}{_unit(data)}")
    axes.legend(loc="upper right")


def _by_step(axes: Axes, data: Data, name: str, colour: str, *, found: npt.NDArray[Any]) -> None:
    losses = quantiles.pinball_by_step(found, data.targets("test"), data.spec.quantiles).mean(axis=0)
    axes.plot(np.arange(1, len(losses) + 1), losses, color=colour, label=name, marker="." if len(losses) < 50 else None)


def _unit(data: Data) -> str:
    return f" [{data.spec.target_unit}]" if data.spec.target_unit else ""
