"""What the model is held against: boosted trees with default settings, on the same features and the same split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from forgia.errors import NotFound
from forgia_jobs.data import Data

NAMES = ("gradient-boosted-trees",)
"""Baselines that a recipe can ask for."""


def predictions(name: str, data: Data, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """What the baseline, trained on the training part, says of the validation and test parts. Raises: NotFound.

    The validation part serves it as it serves the model: to choose a threshold, and not to learn from.
    """
    if name not in NAMES:
        raise NotFound("baseline", name, known=NAMES)
    rows = data.split.train
    known = ~np.isnan(data.numeric[rows]).all(axis=0)  # scikit-learn 1.9 cannot cut a column that has no value
    table = np.concatenate([data.numeric[:, known], data.categorical], axis=1)
    is_category = [False] * int(known.sum()) + [True] * data.categorical.shape[1]
    kind: Any = HistGradientBoostingRegressor if data.spec.output == "value" else HistGradientBoostingClassifier
    trees = kind(random_state=seed % 2**32, categorical_features=is_category).fit(table[rows], data.target[rows])
    return {part: _answers(trees, table[data.split.part(part)]) for part in ("validation", "test")}


def describe(name: str) -> str:
    """The baseline in words, with the version of the library behind it."""
    return f"{name} (scikit-learn {sklearn.__version__} HistGradientBoosting, default settings)"


def _answers(trees: Any, table: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if not hasattr(trees, "predict_proba"):
        return np.asarray(trees.predict(table), dtype=np.float32)
    if len(trees.classes_) == 1:
        return np.full(len(table), trees.classes_[0], dtype=np.float32)
    return np.asarray(trees.predict_proba(table)[:, 1], dtype=np.float32)
