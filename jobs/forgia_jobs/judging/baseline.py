"""What the model is held against, on the same features and the same split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from forgia.errors import NotFound
from forgia_jobs.judging import forecast_baselines, unusual
from forgia_jobs.samples.data import Data

TREES = "gradient-boosted-trees"
SEASONAL = "seasonal-naive"
FOREST = "isolation-forest"
PCA = "pca"
TRIGRAMS = "token-trigrams"
UNTRAINED = "untrained"
IN_WORDS = {
    TREES: f"{TREES} (scikit-learn {sklearn.__version__} HistGradientBoosting, default settings)",
    FOREST: f"{FOREST} (scikit-learn {sklearn.__version__} IsolationForest, default settings)",
    PCA: f"{PCA} (scikit-learn {sklearn.__version__}, distance from the components with 95 % of the variance)",
    TRIGRAMS: f"{TRIGRAMS} (which token followed which two, with Witten-Bell smoothing)",
    UNTRAINED: f"{UNTRAINED} (the same network before its training: the base, where there is one)",
    SEASONAL: f"{SEASONAL} (the load a week before, with what that missed by in training around it)",
}


def predictions(name: str, data: Data, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """What the baseline, trained on the training part, says of the validation and test parts.

    The validation part serves it as it serves the model: to choose a threshold, and not to learn from.
    Raises: NotFound — none of that name for this kind of output.
    """
    makers = BY_OUTPUT.get(data.spec.output, OF_OTHERS)
    if name not in makers:
        raise NotFound(f"baseline of {data.spec.output}", name, known=makers)
    return makers[name](data, seed=seed)


def trees(data: Data, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Boosted trees with default settings."""
    train = data.flat("train")
    known = ~np.isnan(train.matrix).all(axis=0)  # scikit-learn 1.9 cannot cut a column that has no value
    kind: Any = HistGradientBoostingRegressor if data.spec.output == "value" else HistGradientBoostingClassifier
    model = kind(random_state=seed % 2**32, categorical_features=np.asarray(train.is_category)[known])
    model.fit(train.matrix[:, known], data.targets("train"))
    answers = _chances if data.spec.output == "classes" else _answers
    return {part: answers(model, data.flat(part).matrix[:, known]) for part in ("validation", "test")}


def trigrams(data: Data, *, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Counts of tokens; what reads text is no part of every installation."""
    from forgia_jobs.judging import trigrams

    del seed
    return trigrams.predictions(data)


def describe(name: str) -> str:
    """The baseline in words, with the version of the library behind it."""
    return IN_WORDS[name]


def _chances(model: Any, table: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Shapes: (samples, classes); every class is in the training part."""
    return np.asarray(model.predict_proba(table), dtype=np.float32)


def _answers(model: Any, table: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(table), dtype=np.float32)
    if len(model.classes_) == 1:
        return np.full(len(table), model.classes_[0], dtype=np.float32)
    return np.asarray(model.predict_proba(table)[:, 1], dtype=np.float32)


OF_OTHERS = {TREES: trees}
OF_QUANTILES = {TREES: forecast_baselines.quantile_trees, SEASONAL: forecast_baselines.seasonal_naive}
OF_TOKENS = {TRIGRAMS: trigrams}
OF_SCORES = {FOREST: unusual.isolation_forest, PCA: unusual.components}
BY_OUTPUT: Mapping[str, Mapping[str, Callable[..., dict[str, npt.NDArray[np.float32]]]]] = {
    "quantiles": OF_QUANTILES,
    "score": OF_SCORES,
    "tokens": OF_TOKENS,
}
"""Baselines that a recipe can ask for, by name."""
