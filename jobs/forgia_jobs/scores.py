"""Figures of merit in numpy, with scikit-learn's definitions; none depends on the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
TINY = 1e-7
"""Probabilities are kept this far from 0 and 1 in a logarithm."""
LOWER_IS_BETTER = frozenset({"brier", "log_loss", "mae", "rmse"})


def measure(names: Iterable[str], *, predictions: Floats, targets: Floats, threshold: float | None) -> dict[str, float]:
    """These figures of the given predictions; those of a decision use the threshold."""
    truth = targets.astype(np.float64)
    found = predictions.astype(np.float64)
    decided = (found >= threshold).astype(np.float64) if threshold is not None else found
    return {
        name: DECISION_FIGURES[name](decided, truth) if name in DECISION_FIGURES else FIGURES[name](found, truth)
        for name in names
    }


def fitting(names: Iterable[str], output: str) -> list[str]:
    """Those of the names that say something of this kind of output: ``probability`` or ``value``."""
    values = {"mae", "rmse", "r2"}
    return [name for name in names if (name in values) == (output == "value")]


def watched(output: str, predictions: Floats, targets: Floats) -> dict[str, float]:
    """Figures without a threshold, for the validation part during training."""
    names = ("log_loss", "average_precision") if output == "probability" else ("rmse", "mae")
    return measure(names, predictions=predictions, targets=targets, threshold=None)


def is_better(name: str, value: float, than: float) -> bool:
    """Whether a figure is better than another one of the same name."""
    return value < than if name in LOWER_IS_BETTER else value > than


def best_threshold(predictions: Floats, targets: Floats) -> float:
    """The probability from which "yes" gives the greatest F1; between two rows' values, so that neither sits on it.

    Returns 0.5 where no row is true.
    """
    order = np.argsort(-predictions, kind="stable")
    ranked, truth = predictions[order].astype(np.float64), targets[order].astype(np.float64)
    if not truth.sum():
        return 0.5
    hits = np.cumsum(truth)
    f1 = 2 * hits / (np.arange(1, len(truth) + 1) + truth.sum())
    f1[:-1][ranked[1:] == ranked[:-1]] = -1.0  # rows of one value are decided together
    last = int(np.argmax(f1))
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + below) / 2)


def precision_recall_curve(predictions: Floats, targets: Floats) -> tuple[Floats, Floats, Floats]:
    """Recall, precision and threshold at each distinct prediction, from the strictest threshold on."""
    order = np.argsort(-predictions, kind="stable")
    ranked, truth = predictions[order], targets[order].astype(np.float64)
    last_of_value = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(truth)[last_of_value]
    answered = np.flatnonzero(last_of_value) + 1
    return hits / max(truth.sum(), 1.0), hits / answered, ranked[last_of_value]


def bootstrap_interval(
    figure: Callable[[Floats, Floats], float],
    *,
    predictions: Floats,
    targets: Floats,
    groups: npt.NDArray[Any],
    seed: int,
    draws: int = 1000,
) -> tuple[float, float]:
    """The middle 90 % of a figure over redrawn groups (rows of one group are not independent)."""
    labels = np.unique(groups, return_inverse=True)[1]
    rows_of_group = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = generator.integers(len(rows_of_group), size=len(rows_of_group))
        rows = np.concatenate([rows_of_group[group] for group in drawn])
        values.append(figure(predictions[rows], targets[rows]))
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)


def confusion(decided: Floats, truth: Floats) -> Mapping[str, int]:
    """Rows by decision and truth."""
    return {
        "true_positive": int((decided * truth).sum()),
        "false_positive": int((decided * (1 - truth)).sum()),
        "false_negative": int(((1 - decided) * truth).sum()),
        "true_negative": int(((1 - decided) * (1 - truth)).sum()),
    }


def f1(decided: Floats, truth: Floats) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is true and nothing was called true."""
    called = decided.sum() + truth.sum()
    return float(2 * (decided * truth).sum() / called) if called else 0.0


def precision(decided: Floats, truth: Floats) -> float:
    """Share of the calls that were right; 0 without a call."""
    return float((decided * truth).sum() / decided.sum()) if decided.sum() else 0.0


def recall(decided: Floats, truth: Floats) -> float:
    """Share of the true that were called; 0 where nothing is true."""
    return float((decided * truth).sum() / truth.sum()) if truth.sum() else 0.0


def balanced_accuracy(decided: Floats, truth: Floats) -> float:
    """Mean of the shares rightly answered among the true and among the false."""
    shares = [float((decided[truth == value] == value).mean()) for value in (0, 1) if (truth == value).any()]
    return float(np.mean(shares)) if shares else 0.0


def average_precision(found: Floats, truth: Floats) -> float:
    """Precision weighted by the recall gained at each threshold."""
    reached, precisions, _ = precision_recall_curve(found, truth)
    return float((np.diff(reached, prepend=0.0) * precisions).sum())


def roc_auc(found: Floats, truth: Floats) -> float:
    """Probability that a true row is ranked above a false one; 0.5 where one kind is missing."""
    values, position, counts = np.unique(found, return_inverse=True, return_counts=True)
    del values
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[position]
    true, false = truth.sum(), (1 - truth).sum()
    return float((ranks[truth == 1].sum() - true * (true + 1) / 2) / (true * false)) if true and false else 0.5


def brier(found: Floats, truth: Floats) -> float:
    """Mean squared distance of the probability from what happened."""
    return float(((found - truth) ** 2).mean())


def log_loss(found: Floats, truth: Floats) -> float:
    """Mean negative logarithm of the probability given to what happened."""
    sure = np.clip(found, TINY, 1 - TINY)
    return float(-(truth * np.log(sure) + (1 - truth) * np.log(1 - sure)).mean())


def mae(found: Floats, truth: Floats) -> float:
    """Mean distance."""
    return float(np.abs(found - truth).mean())


def rmse(found: Floats, truth: Floats) -> float:
    """Root of the mean squared distance."""
    return float(np.sqrt(((found - truth) ** 2).mean()))


def r2(found: Floats, truth: Floats) -> float:
    """Share of the variance explained; 0 where the truth does not vary."""
    spread = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((found - truth) ** 2).sum() / spread) if spread else 0.0


DECISION_FIGURES = {"f1": f1, "precision": precision, "recall": recall, "balanced_accuracy": balanced_accuracy}
FIGURES = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "brier": brier,
    "log_loss": log_loss,
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
}
