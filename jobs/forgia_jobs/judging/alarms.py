"""From scores to alarms: where the threshold lies, and what alarms are worth row by row and window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

NORMAL_SHARE = 0.99
"""Of the normal rows of the validation part that stay under the threshold, where it holds no abnormal one."""
WINDOW = "window_"
"""Before the name of a figure: of windows that follow each other, each as bad as its worst row."""


def quantile_threshold(scores: Floats) -> float:
    """A threshold that hardly any of these normal rows reaches."""
    return float(np.quantile(scores, NORMAL_SHARE)) if len(scores) else 0.0


def false_alarm_rate(decided: Floats, truth: Floats) -> float:
    """Share of the normal that raised an alarm; 0 where nothing is normal."""
    normal = 1 - truth
    return float((decided * normal).sum() / normal.sum()) if normal.sum() else 0.0


def missed_alarm_rate(decided: Floats, truth: Floats) -> float:
    """Share of the abnormal that raised none; 0 where nothing is abnormal."""
    return float(((1 - decided) * truth).sum() / truth.sum()) if truth.sum() else 0.0


def window_starts(groups: npt.NDArray[Any], *, length: int) -> npt.NDArray[np.int64]:
    """Where windows of ``length`` samples begin that neither overlap nor reach from one group into another.

    Args: groups — a label a sample, equal labels side by side. Shapes: (samples,) to (windows,).
    """
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    is_first = np.append(True, groups[1:] != groups[:-1])
    firsts = np.flatnonzero(is_first)
    within = np.arange(len(groups)) - firsts[np.cumsum(is_first) - 1]
    return np.flatnonzero(within % length == 0)


def worst(values: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    """The greatest value of each window. Shapes: (samples,), (windows,) to (windows,)."""
    return np.asarray(np.maximum.reduceat(values, starts)) if len(starts) else values[:0]
