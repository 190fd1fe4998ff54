"""Judging a model on the test part, beside the baseline, with the same treatment for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia.errors import UserError
from forgia_jobs import scores
from forgia_jobs.data import Data
from forgia_jobs.request import Evaluate, Gate

Predictions = Mapping[str, npt.NDArray[np.float32]]
"""By part: validation and test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Figures of one model."""

    test: dict[str, float]
    validation: dict[str, float]
    threshold: float | None
    """Greatest F1 on the validation part; None where the output is a value."""
    interval: tuple[float, float]
    """The middle 90 % of the primary figure over redrawn test groups."""
    confusion: dict[str, int] | None
    """Rows of the test part by decision and truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The model, the baseline, and whether the gate lets the model through."""

    primary: str
    model: Judged
    baseline: Judged | None
    gate_failure: str | None
    """One sentence; None where the gate is passed or there is none."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def check_metrics(evaluate: Evaluate, output: str) -> None:
    """Raises: UserError — a figure asked for says nothing of this kind of output."""
    wrong = [name for name in evaluate.metrics if name not in scores.fitting(evaluate.metrics, output)]
    if wrong:
        kind = "a boolean target" if output == "probability" else "a numeric target"
        raise UserError(f"evaluate.metrics: {', '.join(wrong)} cannot be measured on {kind}")


def evaluate(
    data: Data, model: Predictions, baseline: Predictions | None, *, settings: Evaluate, seed: int
) -> Evaluation:
    """Measure both, and hold the model against the gate."""
    judged = judge(data, model, settings=settings, seed=seed)
    other = None if baseline is None else judge(data, baseline, settings=settings, seed=seed)
    failure = gate_failure(settings.gate, judged.test, None if other is None else other.test)
    return Evaluation(primary=settings.primary, model=judged, baseline=other, gate_failure=failure)


def judge(data: Data, predictions: Predictions, *, settings: Evaluate, seed: int) -> Judged:
    """Choose the threshold on the validation part, measure on the test part."""
    is_probability = data.spec.output == "probability"
    truth = {part: data.targets(part) for part in ("validation", "test")}
    threshold = scores.best_threshold(predictions["validation"], truth["validation"]) if is_probability else None
    figures = {
        part: scores.measure(settings.metrics, predictions=predictions[part], targets=truth[part], threshold=threshold)
        for part in truth
    }
    interval = scores.bootstrap_interval(
        lambda found, true: scores.measure([settings.primary], predictions=found, targets=true, threshold=threshold)[
            settings.primary
        ],
        predictions=predictions["test"],
        targets=truth["test"],
        groups=data.groups[data.split.test],
        seed=seed,
    )
    decided = (predictions["test"] >= threshold).astype(np.float64) if threshold is not None else None
    return Judged(
        test=figures["test"],
        validation=figures["validation"],
        threshold=threshold,
        interval=interval,
        confusion=None if decided is None else dict(scores.confusion(decided, truth["test"].astype(np.float64))),
    )


def gate_failure(gate: Gate | None, model: Mapping[str, float], baseline: Mapping[str, float] | None) -> str | None:
    """Why the model may not be released, in one sentence; None if it may."""
    if gate is None:
        return None
    found, lower = model[gate.metric], gate.metric in scores.LOWER_IS_BETTER
    sign = ">" if lower else "<"
    if gate.minimum is not None and (found > gate.minimum if lower else found < gate.minimum):
        return f"gate: {gate.metric} {found:.3g} {sign} {gate.minimum:.3g}"
    if gate.baseline_margin is not None and baseline is not None:
        reference = baseline[gate.metric]
        bound = reference + gate.baseline_margin if lower else reference - gate.baseline_margin
        if found > bound if lower else found < bound:
            operation = "+" if lower else "−"
            return (
                f"gate: {gate.metric} {found:.3g} {sign} baseline {reference:.3g} {operation} {gate.baseline_margin:g}"
            )
    return None
