"""Pictures of models that tell classes apart: what was taken for what, what escapes, what was misjudged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes

from forgia.classes import decided
from forgia.features import FeatureSpec
from forgia_jobs.judging import class_scores
from forgia_jobs.judging.class_scores import Classes
from forgia_jobs.judging.evaluate import Evaluation, Predictions
from forgia_jobs.samples.data import Data
from forgia_jobs.telling.drawing import BASELINE, MODEL, QUIET, SIZE_INCH, save

ACROSS = 6
"""Misjudged images in a row."""


def draw(
    folder: Path,
    spec: FeatureSpec,
    *,
    targets: npt.NDArray[Any],
    evaluation: Evaluation,
    model: Predictions,
    other: Predictions | None,
) -> list[Path]:
    """The confusion matrix; with a normal class, escapes and false rejects by threshold beside the baseline."""
    classes = Classes(names=spec.classes, normal=spec.normal_place)
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    draw_confusion(axes, classes, model["test"], targets, threshold=evaluation.model.threshold)
    save(folder / "confusion.png", figure)
    if classes.normal is None:
        return [folder / "confusion.png"]
    figure, axes = pyplot.subplots(figsize=SIZE_INCH)
    for name, colour, found, judged in (
        ("model", MODEL, model, evaluation.model),
        ("baseline", BASELINE, other, evaluation.baseline),
    ):
        if found is not None and judged is not None:
            draw_escapes(axes, classes, found["test"], targets, style=(name, colour), chosen=judged.threshold or 0.5)
    axes.set(xlabel="good parts rejected", ylabel="defective parts escaped", xlim=(-0.01, 1), ylim=(-0.01, 1))
    axes.legend()
    save(folder / "escapes.png", figure)
    return [folder / "confusion.png", folder / "escapes.png"]


def draw_confusion(
    axes: Axes,
    classes: Classes,
    predictions: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    threshold: float | None,
) -> None:
    """True classes down, given ones across; shades are shares of the true class."""
    counts = class_scores.confusion(classes, predictions, targets, threshold=threshold)
    table = np.asarray([list(row.values()) for row in counts.values()])
    axes.imshow(table / np.maximum(table.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1.3)
    for (row, column), count in np.ndenumerate(table):
        axes.annotate(f"{count:,}", (column, row), ha="center", va="center")
    places = range(len(classes.names))
    axes.set_xticks(places, classes.names)
    axes.set_yticks(places, classes.names)
    axes.set(xlabel="given", ylabel="true")


def draw_escapes(
    axes: Axes,
    classes: Classes,
    predictions: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    style: tuple[str, str],
    chosen: float,
) -> None:
    """Share of defects that escape against share of good ones rejected, as the threshold goes down."""
    chance, wrong = class_scores.of_defects(classes, predictions, targets)
    ranks = np.concatenate([[np.inf], np.unique(chance)[::-1], [chosen]])
    bad, good = np.sort(chance[wrong > 0]), np.sort(chance[wrong == 0])
    escaped = np.searchsorted(bad, ranks) / max(len(bad), 1)
    rejected = 1 - np.searchsorted(good, ranks) / max(len(good), 1)
    axes.step(rejected[:-1], escaped[:-1], where="post", color=style[1], label=style[0])
    axes.plot(rejected[-1], escaped[-1], "o", color=style[1])
    axes.axhline(0, color=QUIET, linewidth=0.5)


def draw_misjudged(
    path: Path, data: Data, predictions: npt.NDArray[Any], *, threshold: float | None, most: int
) -> bool:
    """Test images that were misjudged, the surest mistakes first; whether there are any."""
    spec, truth = data.spec, data.targets("test").astype(np.int64)
    codes = decided(predictions, normal=spec.normal_place, threshold=threshold)
    wrong = np.flatnonzero(codes != truth)
    order = wrong[np.argsort(predictions[wrong, truth[wrong]], kind="stable")][:most]
    if not len(order):
        return False
    shown = data.source.inputs(torch.from_numpy(data.split.test[order]))["image"].cpu().numpy()
    across = min(ACROSS, len(order))
    down = -(-len(order) // across)
    figure, grid = pyplot.subplots(down, across, figsize=(1.1 * across, 1.4 * down), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, place, image in zip(grid.flat, order, shown, strict=False):
        axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{spec.classes[truth[place]]}\ncalled {spec.classes[codes[place]]}", fontsize=6)
    save(path, figure)
    return True
