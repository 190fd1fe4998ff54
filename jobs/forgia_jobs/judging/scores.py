"""Figures of merit in numpy, with scikit-learn's definitions; none depends on the order of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia_jobs.judging import alarms, class_scores, quantiles
from forgia_jobs.judging.class_scores import Classes

Floats = npt.NDArray[np.floating[Any]]
TINY = 1e-7
"""Probabilities are kept this far from 0 and 1 in a logarithm."""
LOWER_IS_BETTER = frozenset(
    (
        *("brier", "log_loss", "mae", "rmse", "phm08", "pinball", "normal_score", "perplexity"),
        *(
            "false_alarm_rate",
            "missed_alarm_rate",
            "escape_rate",
            "false_reject_rate",
            "window_false_alarm_rate",
            "window_missed_alarm_rate",
        ),
    )
)
EARLY_CYCLES, LATE_CYCLES = 13.0, 10.0
"""By how many cycles a prognosis is too early, or too late, where its penalty has grown to e - 1.

Source: A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage Propagation Modeling for Aircraft Engine Run-to-Failure
Simulation, International Conference on Prognostics and Health Management (PHM08), 2008.
"""


def measure(
    names: Iterable[str],
    *,
    predictions: Floats,
    targets: Floats,
    threshold: float | None,
    levels: Sequence[float] = (),
    window_starts: npt.NDArray[np.int64] | None = None,
    classes: Classes | None = None,
) -> dict[str, float]:
    """These figures of the given predictions; those of a decision use the threshold.

    Args: levels — of the quantiles, where the predictions are quantiles; window_starts — for the figures of windows;
    classes — where the predictions are probabilities of classes.
    """
    if classes:
        return class_scores.measure(
            names, classes, predictions=predictions, targets=targets, threshold=threshold, of_chances=FIGURES
        )
    if window_starts is not None:
        return _also_of_windows(names, window_starts, predictions=predictions, targets=targets, threshold=threshold)
    if levels:
        return quantiles.measure(names, predictions=predictions, targets=targets, levels=levels)
    truth = targets.astype(np.float64)
    found = predictions.astype(np.float64)
    decided = (found >= threshold).astype(np.float64) if threshold is not None else found
    return {
        name: DECISION_FIGURES[name](decided, truth) if name in DECISION_FIGURES else FIGURES[name](found, truth)
        for name in names
    }


def _also_of_windows(
    names: Iterable[str],
    starts: npt.NDArray[np.int64],
    *,
    predictions: Floats,
    targets: Floats,
    threshold: float | None,
) -> dict[str, float]:
    """Figures of samples, and of windows that are as bad as their worst sample."""
    bare = {name: name.removeprefix(alarms.WINDOW) for name in names}
    plain = [name for name, short in bare.items() if name == short]
    found = measure(plain, predictions=predictions, targets=targets, threshold=threshold)
    worst, bad = alarms.worst(predictions, starts), alarms.worst(targets, starts)
    others = {name: short for name, short in bare.items() if name != short}
    of_windows = measure(others.values(), predictions=worst, targets=bad, threshold=threshold)
    return {name: of_windows[others[name]] if name in others else found[name] for name in bare}


def knowable(names: Iterable[str], targets: Floats, *, window_starts: npt.NDArray[np.int64] | None = None) -> list[str]:
    """Those of the figures of decisions that labels like these tell: nobody misses what is not there.

    Args: window_starts — for the figures of windows, each as bad as its worst sample.
    """
    bad = targets if window_starts is None else alarms.worst(targets, window_starts)
    seen = {name: set(np.unique((bad if name.startswith(alarms.WINDOW) else targets) > 0.5)) for name in names}
    return [name for name in names if NEEDS.get(name.removeprefix(alarms.WINDOW), frozenset()) <= seen[name]]


def fitting(names: Iterable[str], output: str) -> list[str]:
    """Those of the names that say something of this kind of output."""
    return [name for name in names if output in FITS.get(name, DECIDED)]


def watched(
    output: str,
    predictions: Floats,
    targets: Floats,
    *,
    levels: Sequence[float] = (),
    classes: Classes | None = None,
) -> dict[str, float]:
    """Figures without a threshold, for the validation part during training."""
    return measure(
        WATCHED[output], predictions=predictions, targets=targets, threshold=None, levels=levels, classes=classes
    )


def is_better(name: str, value: float, than: float | None) -> bool:
    """Whether a figure is better than another one of the same name, or than none; what is no number never is."""
    if math.isnan(value) or than is None:
        return not math.isnan(value)
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


def cheapest_threshold(predictions: Floats, targets: Floats, *, miss_cost: float) -> float:
    """The probability from which "yes" costs least, where a miss costs so many false alarms; between two rows' values.

    Of equally cheap ones the lowest, which misses least. Above 1 where it is cheapest never to say yes.
    """
    order = np.argsort(-predictions, kind="stable")
    ranked, truth = predictions[order].astype(np.float64), targets[order].astype(np.float64)
    alarms_so_far = np.concatenate([[0.0], np.cumsum(1 - truth)])
    missed_so_far = truth.sum() - np.concatenate([[0.0], np.cumsum(truth)])
    cost = alarms_so_far + miss_cost * missed_so_far
    cost[1:-1][ranked[1:] == ranked[:-1]] = np.inf  # rows of one value are decided together
    called = len(cost) - 1 - int(np.argmin(cost[::-1]))
    above = ranked[called - 1] if called else max(1.0, ranked[0] + TINY)
    below = ranked[called] if called < len(ranked) else 0.0
    return float((above + below) / 2)


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


def phm08(found: Floats, truth: Floats) -> float:
    """Sum of penalties that grow exponentially with a prognosis' error, faster where it comes too late."""
    late = found - truth
    return float(np.expm1(np.where(late < 0, -late / EARLY_CYCLES, late / LATE_CYCLES)).sum())


def r2(found: Floats, truth: Floats) -> float:
    """Share of the variance explained; 0 where the truth does not vary."""
    spread = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((found - truth) ** 2).sum() / spread) if spread else 0.0


def perplexity(found: Floats, truth: Floats) -> float:
    """The exponential of the mean surprise a token.

    Shapes: found (blocks,) or (blocks, 4), sums over each block first; truth (blocks,), tokens of each.
    """
    return float(np.exp(found.reshape(len(truth), -1)[:, 0].sum() / truth.sum()))


def exact_match(found: Floats, truth: Floats) -> float:
    """Share of the questions answered with the very words. Shapes: found (blocks, 4): the count of questions last."""
    return float(found[:, 1].sum() / max(found[:, 3].sum(), 1.0)) if len(truth) else 0.0


def answer_f1(found: Floats, truth: Floats) -> float:
    """Mean over the questions of the overlap in words. Shapes: as ``exact_match``."""
    return float(found[:, 2].sum() / max(found[:, 3].sum(), 1.0)) if len(truth) else 0.0


DECISION_FIGURES = {
    "f1": f1,
    "precision": precision,
    "recall": recall,
    "balanced_accuracy": balanced_accuracy,
    "false_alarm_rate": alarms.false_alarm_rate,
    "missed_alarm_rate": alarms.missed_alarm_rate,
}
FIGURES = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "brier": brier,
    "log_loss": log_loss,
    "mae": mae,
    "rmse": rmse,
    "phm08": phm08,
    "perplexity": perplexity,
    "exact_match": exact_match,
    "answer_f1": answer_f1,
    "r2": r2,
}
NEEDS: Mapping[str, frozenset[bool]] = {
    **dict.fromkeys(("f1", "precision", "recall", "missed_alarm_rate", "average_precision"), frozenset({True})),
    **dict.fromkeys(("roc_auc", "balanced_accuracy"), frozenset({False, True})),
    "false_alarm_rate": frozenset({False}),
}
"""Figure → the answers that must be there for it to mean anything."""
DECIDED = ("probability", "score")
"""Outputs from which a threshold makes a decision."""
FITS: Mapping[str, tuple[str, ...]] = {
    "brier": ("probability",),
    "log_loss": ("probability", "classes"),
    "average_precision": (*DECIDED, "classes"),
    "roc_auc": (*DECIDED, "classes"),
    **dict.fromkeys(("accuracy", "macro_f1", "escape_rate", "false_reject_rate"), ("classes",)),
    "mae": ("value", "quantiles"),
    "pinball": ("quantiles",),
    "coverage": ("quantiles",),
    "rmse": ("value",),
    "phm08": ("value",),
    "perplexity": ("tokens",),
    "exact_match": ("tokens",),
    "answer_f1": ("tokens",),
    "window_f1": ("score",),
    "window_false_alarm_rate": ("score",),
    "window_missed_alarm_rate": ("score",),
    "r2": ("value",),
}
"""Figure → the outputs it says something of; of what can be decided where it is missing."""
WATCHED = {
    "probability": ("log_loss", "average_precision"),
    "value": ("rmse", "mae"),
    "score": ("average_precision",),
    "quantiles": ("pinball", "coverage"),
    "tokens": ("perplexity",),
    "classes": ("log_loss", "macro_f1"),
}
"""Output → figures without a threshold, the first of which decides which weights are the best."""
