"""Baselines of anomaly scores: how unusual a sample is beside those of the training part; no label is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from forgia_jobs.samples.data import Data

Scores = dict[str, npt.NDArray[np.float32]]
KEPT_VARIANCE = 0.95
"""Share of the variance that the components of normal operation account for."""
LONGEST = 50_000
"""Training samples that are looked at, evenly taken."""


def isolation_forest(data: Data, *, seed: int) -> Scores:
    """How few random cuts set a sample apart."""
    train, others = _standard(data)
    model = IsolationForest(random_state=seed % 2**32).fit(train)
    return {part: -model.score_samples(table).astype(np.float32) for part, table in others.items()}


def components(data: Data, *, seed: int) -> Scores:
    """Mean squared distance from the subspace in which normal operation lies."""
    train, others = _standard(data)
    model = PCA(n_components=KEPT_VARIANCE, svd_solver="full", random_state=seed % 2**32).fit(train)

    def distance(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        found: Any = ((table - model.inverse_transform(model.transform(table))) ** 2).mean(axis=1)
        return np.asarray(found, dtype=np.float32)

    return {part: distance(table) for part, table in others.items()}


def _standard(data: Data) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
    """Samples of each part in standard deviations of the training part; what is missing is its mean."""
    train = data.flat("train").matrix
    train = train[:: max(1, len(train) // LONGEST)]
    known = ~np.isnan(train).all(axis=0)
    mean, std = np.nanmean(train[:, known], axis=0), np.nanstd(train[:, known], axis=0)

    def standard(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.nan_to_num((table[:, known] - mean) / np.where(std > 0, std, 1.0)))

    return standard(train), {part: standard(data.flat(part).matrix) for part in ("validation", "test")}
