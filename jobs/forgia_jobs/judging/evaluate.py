"""Judging a model on the test part, beside the baseline, with the same treatment for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.judging import alarms, class_scores, quantiles, scores
from forgia_jobs.request import Evaluate, Gate
from forgia_jobs.samples.data import Data

GIVES = {
    "probability": "probabilities",
    "value": "values",
    "score": "scores",
    "quantiles": "quantiles",
    "classes": "classes",
    "tokens": "text",
}
"""Kind of output, in words."""
Predictions = Mapping[str, npt.NDArray[np.float32]]
"""By part: validation and test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Figures of one model."""

    test: dict[str, float]
    validation: dict[str, float]
    threshold: float | None
    """Greatest F1, or least cost, on the validation part; None where the output decides nothing."""
    interval: tuple[float, float]
    """The middle 90 % of the primary figure over redrawn test groups."""
    confusion: Mapping[str, Any] | None
    """Rows of the test part by decision and truth; of classes by true class, then by the class they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The model, the baseline, and whether the gate lets the model through."""

    primary: str
    model: Judged
    baseline: Judged | None
    """Of several the one with the best primary figure on the test part."""
    baseline_name: str | None
    baselines: Mapping[str, Judged]
    """All of them, by name."""
    gate_failure: str | None
    """One sentence; None where the gate is passed or there is none."""
    gate_metric: str | None = None
    """The figure that the gate held; None where there is no gate, or nothing that it could hold."""
    unknown: str | None = None
    """Which figures the labels do not tell, and what became of the gate, in a sentence; None where they tell all."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def check_metrics(evaluate: Evaluate, output: str) -> None:
    """Raises: UserError — a figure asked for says nothing of this kind of output."""
    wrong = [name for name in evaluate.metrics if name not in scores.fitting(evaluate.metrics, output)]
    if wrong:
        raise UserError(
            f"evaluate.metrics: {', '.join(wrong)} cannot be measured on a model that gives {GIVES[output]}"
        )


def evaluate(
    data: Data, model: Predictions, baselines: Mapping[str, Predictions], *, settings: Evaluate, seed: int
) -> Evaluation:
    """Measure all, and hold the model against the gate; what the labels do not tell is in no figure."""
    settings, unknown = knowable(settings, data)
    judged = judge(data, model, settings=settings, seed=seed)
    others = {name: judge(data, found, settings=settings, seed=seed) for name, found in baselines.items()}
    best = best_of(others, settings.primary)
    failure = gate_failure(settings.gate, judged.test, others[best].test if best else None)
    return Evaluation(
        primary=settings.primary,
        model=judged,
        baseline=others[best] if best else None,
        baseline_name=best,
        baselines=others,
        gate_failure=f"{failure}; {unknown}" if failure and unknown else failure,
        gate_metric=settings.gate.metric if settings.gate else None,
        unknown=unknown,
    )


def knowable(settings: Evaluate, data: Data) -> tuple[Evaluate, str | None]:
    """The settings without what the labels of the test part do not tell, and a sentence of it.

    Where what decides is not told, it is the alarms among the rows that are labelled alike: the false ones where
    nothing is wrong, the missed ones where all is.
    """
    truth = data.targets("test")
    told = known_figures(settings.metrics, data, "test")
    if len(told) == len(settings.metrics):
        return settings, None
    instead = "missed_alarm_rate" if truth.all() else "false_alarm_rate"
    lost = [name for name in settings.metrics if name not in told]
    where = "every" if truth.all() else "no"
    sentence = f"{data.spec.target} is true in {where} row of the test part, so {', '.join(lost)} cannot be known"
    gate = settings.gate
    if gate and gate.metric in lost:
        asked, margin = gate.metric, gate.baseline_margin
        gate = None if margin is None else Gate(metric=instead, baseline_margin=margin)
        sentence += f"; the gate holds {instead} in place of {asked}" if gate else "; the gate is not applied"
    metrics = tuple(name for name in (*settings.metrics, instead) if name in told or name == instead)
    primary = settings.primary if settings.primary in told else instead
    return replace(settings, metrics=tuple(dict.fromkeys(metrics)), primary=primary, gate=gate), sentence


def known_figures(names: Sequence[str], data: Data, part: str) -> list[str]:
    """Those of the figures that the labels of a part tell; of what is not a score, all."""
    if data.spec.output != "score":
        return list(names)
    return scores.knowable(names, data.targets(part), window_starts=_window_starts(data, part))


def best_of(judged: Mapping[str, Judged], figure: str) -> str | None:
    """The name with the best figure on the test part; None of nobody."""
    sign = 1 if figure in scores.LOWER_IS_BETTER else -1
    return min(judged, key=lambda name: sign * judged[name].test[figure], default=None)


def judge(data: Data, predictions: Predictions, *, settings: Evaluate, seed: int) -> Judged:
    """Choose the threshold on the validation part, measure on the test part."""
    truth = {part: data.targets(part) for part in ("validation", "test")}
    threshold = threshold_of(data.spec, predictions["validation"], truth["validation"], miss_cost=settings.miss_cost)
    figures = {
        part: scores.measure(
            known_figures(settings.metrics, data, part),
            predictions=predictions[part],
            targets=truth[part],
            threshold=threshold,
            levels=data.spec.quantiles,
            window_starts=_window_starts(data, part),
            classes=class_scores.of(data.spec),
        )
        for part in truth
    }
    interval = _interval(data, predictions["test"], settings.primary, threshold=threshold, seed=seed)
    return Judged(
        test=figures["test"],
        validation=figures["validation"],
        threshold=threshold,
        interval=interval,
        confusion=_confusion(data.spec, predictions["test"], truth["test"], threshold=threshold),
    )


def _confusion(
    spec: FeatureSpec, predictions: npt.NDArray[np.float32], truth: npt.NDArray[Any], *, threshold: float | None
) -> Mapping[str, Any] | None:
    if classes := class_scores.of(spec):
        return class_scores.confusion(classes, predictions, truth, threshold=threshold)
    if threshold is None:
        return None
    return scores.confusion((predictions >= threshold).astype(np.float64), truth.astype(np.float64))


def threshold_of(
    spec: FeatureSpec, predictions: npt.NDArray[np.float32], truth: npt.NDArray[Any], *, miss_cost: float | None = None
) -> float | None:
    """From where on the answer is yes, by the validation part alone; None where the output decides nothing."""
    output, classes = spec.output, class_scores.of(spec)
    if classes and classes.normal is not None:
        predictions, truth = class_scores.of_defects(classes, predictions, truth)
    elif output not in scores.DECIDED:
        return None
    if miss_cost is not None:
        return scores.cheapest_threshold(predictions, truth, miss_cost=miss_cost)
    if output == "score" and not 0 < truth.sum() < len(truth):
        return alarms.quantile_threshold(predictions)
    return scores.best_threshold(predictions, truth)


def _window_starts(data: Data, part: str) -> npt.NDArray[np.int64] | None:
    """Where the windows of a score begin among a part's samples."""
    if data.spec.output != "score" or data.spec.samples["kind"] != "windows":
        return None
    apart = max(int(data.spec.samples["length"]) // int(data.spec.samples.get("stride", 1)), 1)
    return alarms.window_starts(data.groups[data.split.part(part)], length=apart)


def _interval(
    data: Data, predictions: npt.NDArray[np.float32], name: str, *, threshold: float | None, seed: int
) -> tuple[float, float]:
    """The middle 90 % of a figure over redrawn groups of the test part."""
    truth, groups = data.targets("test"), data.groups[data.split.test]
    if data.spec.quantiles:  # a mean over samples: each sample's own figure is found once
        each = quantiles.EACH[name](predictions, truth, data.spec.quantiles)
        return scores.bootstrap_interval(
            lambda found, _: float(found.mean()), predictions=each, targets=each, groups=groups, seed=seed
        )
    return scores.bootstrap_interval(
        lambda found, true: scores.measure(
            [name], predictions=found, targets=true, threshold=threshold, classes=class_scores.of(data.spec)
        )[name],
        predictions=predictions,
        targets=truth,
        groups=groups,
        seed=seed,
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
