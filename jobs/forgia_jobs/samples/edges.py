"""Where a measurement is cut into intervals: where the target changes, found by a small decision tree of each alone.

Failures live in the tails of a measurement, where intervals of equal share are widest; a tree cuts there.

Source: Gorishniy, Rubachev, Babenko: On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022,
https://arxiv.org/abs/2203.05556, section 3.2.2 (target-aware bins).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from forgia.features import FeatureSpec, NumericFeature

MAX_INTERVALS = 32
MIN_ROWS = 16
"""Rows in an interval. Both figures had the best validation loss among 32 of 16, 48 of 4 and quantiles: docs/log.md."""


def place(spec: FeatureSpec, numeric: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> FeatureSpec:
    """The spec with each measurement's edges where the target of the training part changes.

    Shapes: numeric (rows, features), NaN where missing; target (rows,).
    """
    found = [
        place_one(feature, numeric[:, index], target, output=spec.output) for index, feature in enumerate(spec.numeric)
    ]
    return replace(spec, numeric=tuple(found))


def place_one(
    feature: NumericFeature, values: npt.NDArray[np.float32], target: npt.NDArray[np.float32], *, output: str
) -> NumericFeature:
    """One measurement with its edges. Shapes: (rows,) both, values NaN where missing."""
    kind: Any = DecisionTreeClassifier if output == "probability" else DecisionTreeRegressor
    present = ~np.isnan(values)
    if not feature.edges or present.sum() < 2 * MIN_ROWS:
        return feature
    tree = kind(max_leaf_nodes=MAX_INTERVALS, min_samples_leaf=MIN_ROWS, random_state=0)
    fitted = tree.fit(values[present, None], target[present]).tree_
    cuts = fitted.threshold[fitted.feature >= 0]
    edges = np.unique([feature.edges[0], *cuts, feature.edges[-1]])
    return replace(feature, edges=tuple(float(edge) for edge in edges))
