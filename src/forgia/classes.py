"""From probabilities of classes to one class: the same decision when a model is judged and when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.floating[Any]]


def defect(probabilities: Probabilities, *, normal: int) -> Probabilities:
    """The probability that anything is wrong. Shapes: (samples, classes) to (samples,)."""
    return 1 - probabilities[:, normal]


def decided(probabilities: Probabilities, *, normal: int | None, threshold: float | None) -> npt.NDArray[np.int64]:
    """The likeliest class; with a normal class and a threshold, the likeliest of the others wherever they reach it
    together, and else the normal one.

    Shapes: (samples, classes) to (samples,).
    """
    if normal is None or threshold is None:
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    others = probabilities.copy()
    others[:, normal] = -1
    wrong = defect(probabilities, normal=normal) >= threshold
    return np.asarray(np.where(wrong, others.argmax(axis=1), normal), dtype=np.int64)
