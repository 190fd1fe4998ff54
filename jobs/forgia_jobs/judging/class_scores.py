"""Figures of models that give a probability of each class; with a normal class, also of defects against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia.classes import decided, defect
from forgia.features import FeatureSpec

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.int64]
TINY = 1e-7
"""Probabilities are kept this far from 0 in a logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What the answers of a model stand for."""

    names: tuple[str, ...]
    normal: int | None
    """Position of the one that means nothing is wrong; None: none does."""


def of(spec: FeatureSpec) -> Classes | None:
    """The classes that a model tells apart; None where it gives something else."""
    return Classes(names=spec.classes, normal=spec.normal_place) if spec.output == "classes" else None


def of_defects(classes: Classes, predictions: Floats, targets: npt.NDArray[Any]) -> tuple[Any, npt.NDArray[Any]]:
    """The probability of any defect, and whether there is one. Shapes: (samples,) both."""
    normal = classes.normal or 0
    return defect(predictions, normal=normal), (targets != normal).astype(np.float64)


def measure(
    names: Iterable[str],
    classes: Classes,
    *,
    predictions: Floats,
    targets: npt.NDArray[Any],
    threshold: float | None,
    of_chances: Mapping[str, Callable[[Floats, Floats], float]],
) -> dict[str, float]:
    """These figures.

    Args: of_chances — name → figure of a probability against what is true; they are measured of defects.
    Shapes: predictions (samples, classes), targets (samples,).
    """
    found, truth = predictions.astype(np.float64), targets.astype(np.int64)
    codes = decided(predictions, normal=classes.normal, threshold=threshold)
    chance, wrong = of_defects(classes, found, truth)
    figures: dict[str, float] = {}
    for name in names:
        if name in OF_DECISIONS:
            figures[name] = OF_DECISIONS[name](codes, truth)
        elif name in OF_DEFECTS:
            figures[name] = OF_DEFECTS[name](codes != classes.normal, truth != classes.normal)
        else:
            figures[name] = log_loss(found, truth) if name == "log_loss" else of_chances[name](chance, wrong)
    return figures


def confusion(
    classes: Classes, predictions: Floats, targets: npt.NDArray[Any], *, threshold: float | None
) -> dict[str, dict[str, int]]:
    """Samples by true class, then by the class they were given."""
    counts = np.zeros((len(classes.names), len(classes.names)), dtype=np.int64)
    np.add.at(counts, (targets.astype(np.int64), decided(predictions, normal=classes.normal, threshold=threshold)), 1)
    rows = zip(classes.names, counts.tolist(), strict=True)
    return {true: dict(zip(classes.names, row, strict=True)) for true, row in rows}


def accuracy(codes: Codes, truth: Codes) -> float:
    """Share that was named rightly."""
    return float((codes == truth).mean())


def macro_f1(codes: Codes, truth: Codes) -> float:
    """Mean over the classes that are there, or were said to be, of their F1."""
    size = int(max(codes.max(), truth.max())) + 1
    hits = np.bincount(truth[codes == truth], minlength=size)
    called = np.bincount(codes, minlength=size) + np.bincount(truth, minlength=size)
    return float((2 * hits[called > 0] / called[called > 0]).mean())


def log_loss(found: Floats, truth: Codes) -> float:
    """Mean negative logarithm of the probability given to the true class."""
    return float(-np.log(np.maximum(found[np.arange(len(truth)), truth], TINY)).mean())


def escape_rate(called: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Share of the defective that passed as normal; 0 where nothing is defective."""
    return float((true & ~called).sum() / true.sum()) if true.any() else 0.0


def false_reject_rate(called: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Share of the normal that was called defective; 0 where nothing is normal."""
    return float((called & ~true).sum() / (~true).sum()) if not true.all() else 0.0


OF_DECISIONS = {"accuracy": accuracy, "macro_f1": macro_f1}
OF_DEFECTS = {"escape_rate": escape_rate, "false_reject_rate": false_reject_rate}
