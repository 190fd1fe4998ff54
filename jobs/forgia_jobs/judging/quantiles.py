"""Figures of quantiles foretold for some steps ahead; each is a mean over samples of what one sample gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Levels = Sequence[float]
"""Shares of outcomes below each quantile, ascending."""


def measure(names: Iterable[str], *, predictions: Floats, targets: Floats, levels: Levels) -> dict[str, float]:
    """These figures. Shapes: predictions (samples, steps, quantiles), targets (samples, steps)."""
    return {name: float(EACH[name](predictions, targets, levels).mean()) for name in names}


def pinball(found: Floats, truth: Floats, levels: Levels) -> Floats:
    """The pinball loss of each sample, the mean over its steps and quantiles. Shapes: to (samples,).

    Source: mean_pinball_loss of scikit-learn 1.9, which takes one quantile at a time.
    """
    return pinball_by_step(found, truth, levels).mean(axis=1)  # type: ignore[no-any-return]


def pinball_by_step(found: Floats, truth: Floats, levels: Levels) -> Floats:
    """The mean over quantiles. Shapes: to (samples, steps)."""
    missed = truth[..., None].astype(np.float64) - found.astype(np.float64)
    share = np.asarray(levels)
    losses: Floats = np.maximum(share * missed, (share - 1) * missed).mean(axis=2)
    return losses


def distance(found: Floats, truth: Floats, levels: Levels) -> Floats:
    """How far the middle quantile is from the truth, the mean over steps. Shapes: to (samples,)."""
    middle = found[..., len(levels) // 2].astype(np.float64)
    return np.abs(middle - truth).mean(axis=1)  # type: ignore[no-any-return]


def coverage(found: Floats, truth: Floats, levels: Levels) -> Floats:
    """Share of the steps whose truth lies between the outermost quantiles. Shapes: to (samples,)."""
    del levels
    return ((found[..., 0] <= truth) & (truth <= found[..., -1])).mean(axis=1)  # type: ignore[no-any-return]


EACH: Mapping[str, Callable[[Floats, Floats, Levels], Floats]] = {
    "pinball": pinball,
    "mae": distance,
    "coverage": coverage,
}
"""Figure → what each sample gives to it."""
