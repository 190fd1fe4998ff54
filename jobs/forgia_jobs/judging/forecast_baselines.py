"""What a forecast is held against: the same hour last week, and boosted trees that know what the network knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from forgia_jobs.samples import Positions
from forgia_jobs.samples.data import Data

Matrix = npt.NDArray[Any]
JUDGED = ("validation", "test")
MOST_ROWS = 120_000
"""Rows, one a step ahead, that trees learn from; of more, windows at even distances are taken."""
LEVEL = 0
"""Column of the flat form with the mean load, of which the other loads are shares."""
SEASON = 1
"""Column with the load a season before the step ahead."""


def seasonal_naive(data: Data, *, seed: int) -> dict[str, Matrix]:
    """The load a week before, or a day where the history is shorter; around it what it missed by in training, step by
    step and as a share of the mean load. A load that is missing there is taken to be the mean."""
    del seed
    level, before = _last_season(data, "train")
    missed = data.target[_thinned(data, "train")] / level - before
    around = np.quantile(missed, data.spec.quantiles, axis=0).T
    found = {}
    for part in JUDGED:
        level, before = _last_season(data, part)
        found[part] = ((before[..., None] + around) * level[..., None]).astype(np.float32)
    return found


def _last_season(data: Data, part: str) -> tuple[Matrix, Matrix]:
    """Mean load, and the load a season before as a share of it. Shapes: (windows, steps) each."""
    matrix = data.source.flat(_thinned(data, part)).matrix
    before = np.where(np.isnan(matrix[:, SEASON]), 1.0, matrix[:, SEASON])
    steps = data.target.shape[1]
    return matrix[:, LEVEL].reshape(-1, steps), before.reshape(-1, steps)


def quantile_trees(data: Data, *, seed: int) -> dict[str, Matrix]:
    """One set of trees a quantile, which learn the share of the mean load; every step ahead is a row, weighted by its
    mean load so that the loss is that of the loads themselves. Quantiles that cross are put in order.

    Source: on putting them in order, V. Chernozhukov, I. Fernández-Val, A. Galichon: Quantile and Probability Curves
    Without Crossing, Econometrica 78 (2010), https://doi.org/10.3982/ECTA7880.
    """
    chosen = _thinned(data, "train")
    train, answers = data.source.flat(chosen), data.target[chosen].reshape(-1)
    known = np.asarray(~np.isnan(train.matrix).all(axis=0))  # scikit-learn 1.9 cannot cut a column that has no value
    known[LEVEL] = False
    level = train.matrix[:, LEVEL]
    judged = {part: data.flat(part).matrix for part in JUDGED}
    found: dict[str, list[Matrix]] = {part: [] for part in JUDGED}
    for share in data.spec.quantiles:
        trees = HistGradientBoostingRegressor(
            loss="quantile",
            quantile=share,
            random_state=seed % 2**32,
            categorical_features=np.asarray(train.is_category)[known],
        )
        trees.fit(train.matrix[:, known], answers / level, sample_weight=level)
        for part, matrix in judged.items():
            found[part].append(trees.predict(matrix[:, known]) * matrix[:, LEVEL])
    steps = data.target.shape[1]
    return {
        part: np.sort(np.stack(columns, axis=1), axis=1).reshape(-1, steps, len(columns)).astype(np.float32)
        for part, columns in found.items()
    }


def _thinned(data: Data, part: str) -> Positions:
    """All samples of a part that is judged; of the training part at most so many that their rows are not too many."""
    positions = data.split.part(part)
    if part != "train":
        return positions
    return positions[:: -(-len(positions) * data.target.shape[1] // MOST_ROWS)]
