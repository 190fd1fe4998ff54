"""Pictures of a run for its card: PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot
from matplotlib.axes import Axes

from forgia.features import FeatureSpec
from forgia_jobs.judging import scores
from forgia_jobs.judging.evaluate import Evaluation, Predictions
from forgia_jobs.telling import class_plots
from forgia_jobs.telling.drawing import BASELINE, MODEL, QUIET, SIZE_INCH, save

CALIBRATION_BINS = 10


def draw(
    folder: Path,
    spec: FeatureSpec,
    *,
    targets: npt.NDArray[Any],
    evaluation: Evaluation,
    model: Predictions,
    other: Predictions | None,
) -> list[Path]:
    """The pictures that fit the kind of output, beside the one of the training."""
    truth = targets.astype(np.float64)
    if spec.output == "classes":
        return class_plots.draw(folder, spec, targets=targets, evaluation=evaluation, model=model, other=other)
    if spec.output == "probability":
        return draw_probabilities(folder, evaluation=evaluation, targets=truth, model=model, baseline=other)
    if spec.output == "score":
        return draw_scores(folder, evaluation=evaluation, targets=truth, model=model, baseline=other)
    if spec.output == "value":
        return draw_values(folder, targets=truth, model=model, unit=spec.target_unit)
    return []


def draw_training(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Loss and watched validation figure by epoch."""
    epochs = [line for line in lines if line.get("kind") == "epoch"]
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    numbers = [line["epoch"] for line in epochs]
    axes.plot(numbers, [line["loss"] for line in epochs], color=MODEL, label="training loss")
    axes.set(xlabel="epoch", ylabel="training loss")
    if epochs:
        watched = next(iter(epochs[-1]["validation"]))
        right = axes.twinx()
        right.plot(numbers, [line["validation"][watched] for line in epochs], color=BASELINE)
        right.set_ylabel(f"validation {watched.replace('_', ' ')}", color=BASELINE)
        axes.axvline(epochs[-1]["best_epoch"], color=QUIET, linestyle=":", label="weights kept")
    axes.legend(loc="upper center")
    save(path, figure)


def draw_probabilities(
    folder: Path, *, evaluation: Evaluation, targets: npt.NDArray[Any], model: Predictions, baseline: Predictions | None
) -> list[Path]:
    """Precision and recall beside the baseline; what the threshold decides; what the probabilities are worth."""
    paths = [folder / name for name in ("precision-recall.png", "threshold.png", "calibration.png")]
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    _precision_recall(axes, evaluation, targets, model=model, baseline=baseline)
    save(paths[0], figure)
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    _threshold(axes, targets, model["test"], chosen=evaluation.model.threshold or 0.5)
    save(paths[1], figure)
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    _calibration(axes, targets, model["test"])
    save(paths[2], figure)
    return paths


def draw_scores(
    folder: Path, *, evaluation: Evaluation, targets: npt.NDArray[Any], model: Predictions, baseline: Predictions | None
) -> list[Path]:
    """Precision and recall beside the baseline, where the test part has anything to find."""
    if not 0 < targets.sum() < len(targets):
        return []
    path = folder / "precision-recall.png"
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    _precision_recall(axes, evaluation, targets, model=model, baseline=baseline)
    save(path, figure)
    return [path]


def draw_values(folder: Path, *, targets: npt.NDArray[Any], model: Predictions, unit: str | None) -> list[Path]:
    """Predicted against true values."""
    path = folder / "predicted-true.png"
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    ends = [float(targets.min()), float(targets.max())]
    axes.scatter(targets, model["test"], s=6, alpha=0.4, color=MODEL)
    axes.plot(ends, ends, color=QUIET, linestyle=":")
    suffix = f" [{unit}]" if unit else ""
    axes.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}")
    save(path, figure)
    return [path]


def _precision_recall(
    axes: Axes, evaluation: Evaluation, targets: npt.NDArray[Any], *, model: Predictions, baseline: Predictions | None
) -> None:
    curves = [("model", MODEL, model, evaluation.model), ("baseline", BASELINE, baseline, evaluation.baseline)]
    for label, colour, predictions, judged in curves:
        if predictions is None or judged is None:
            continue
        recall, precision, _ = scores.precision_recall_curve(predictions["test"], targets)
        axes.step(recall, precision, where="post", color=colour, label=label)
        at = scores.measure(
            ["recall", "precision"], predictions=predictions["test"], targets=targets, threshold=judged.threshold
        )
        axes.plot(at["recall"], at["precision"], "o", color=colour)
    axes.axhline(float(targets.mean()), color=QUIET, linestyle=":", label="always yes")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="center left")


def _threshold(axes: Axes, targets: npt.NDArray[Any], predictions: npt.NDArray[Any], *, chosen: float) -> None:
    steps = np.linspace(0.01, 0.99, 99)
    for name, colour in (("f1", MODEL), ("precision", BASELINE), ("recall", QUIET)):
        values = [
            scores.measure([name], predictions=predictions, targets=targets, threshold=step)[name] for step in steps
        ]
        axes.plot(steps, values, color=colour, label=name)
    axes.axvline(chosen, color="black", linestyle=":", label="chosen on validation")
    axes.set(xlabel="threshold", ylabel="on the test part", ylim=(0, 1.02))
    axes.legend(loc="lower center")


def _calibration(axes: Axes, targets: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> None:
    bins = np.clip((predictions * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    used = [number for number in range(CALIBRATION_BINS) if (bins == number).any()]
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":")
    said = [float(predictions[bins == number].mean()) for number in used]
    happened = [float(targets[bins == number].mean()) for number in used]
    axes.plot(said, happened, "o-", color=MODEL)
    for x, y, number in zip(said, happened, used, strict=True):
        axes.annotate(str(int((bins == number).sum())), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.set(
        xlabel="probability said", ylabel="share that was true (rows beside the points)", xlim=(0, 1), ylim=(0, 1.02)
    )
