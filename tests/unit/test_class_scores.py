"""Figures of classes: scikit-learn's numbers, and one decision for judging and for using."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.classes import decided
from forgia.errors import UserError
from forgia_jobs.judging import class_scores, evaluate, scores
from forgia_jobs.judging.class_scores import Classes
from forgia_jobs.request import Evaluate

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")

CLASSES = Classes(names=("dent", "good", "scratch"), normal=1)
NAMES = ("macro_f1", "accuracy", "escape_rate", "false_reject_rate", "average_precision", "roc_auc", "log_loss")


def drawn(rows: int = 200, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, rows, p=[0.1, 0.8, 0.1])
    logits = generator.normal(0, 1, (rows, 3)) + 1.5 * np.eye(3)[truth]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chances.astype(np.float32), truth


def measured(threshold: float | None, **changes: Any) -> dict[str, float]:
    chances, truth = drawn()
    return scores.measure(NAMES, predictions=chances, targets=truth, threshold=threshold, classes=CLASSES, **changes)


@pytest.mark.parametrize("threshold", [None, 0.2, 0.9])
def test_figures_are_scikit_learns(threshold: float | None) -> None:
    chances, truth = drawn()
    codes, found = decided(chances, normal=1, threshold=threshold), measured(threshold)
    wrong, chance = truth != 1, 1 - chances[:, 1].astype(np.float64)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, codes, average="macro"))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, codes))
    assert found["escape_rate"] == pytest.approx(1 - metrics.recall_score(wrong, codes != 1))
    assert found["false_reject_rate"] == pytest.approx(1 - metrics.recall_score(~wrong, codes == 1))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(wrong, chance))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(wrong, chance))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, chances), rel=1e-5)


def test_a_threshold_moves_parts_between_good_and_their_likeliest_defect() -> None:
    chances = np.array([[0.1, 0.6, 0.3], [0.2, 0.7, 0.1], [0.05, 0.9, 0.05]])
    assert decided(chances, normal=1, threshold=None).tolist() == [1, 1, 1]
    assert decided(chances, normal=1, threshold=0.25).tolist() == [2, 0, 1]
    assert decided(chances, normal=None, threshold=0.25).tolist() == [1, 1, 1]


def test_the_confusion_counts_every_sample_once() -> None:
    chances, truth = drawn()
    found = class_scores.confusion(CLASSES, chances, truth, threshold=0.5)
    assert sum(sum(row.values()) for row in found.values()) == len(truth)
    assert sum(found["good"].values()) == int((truth == 1).sum())


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.5, 1.0, 10.0]),
)
def test_no_threshold_costs_less_than_the_cheapest(rows: list[tuple[float, bool]], cost: float) -> None:
    found, truth = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))

    def price(threshold: float) -> float:
        called = found >= threshold
        return float((called & (truth == 0)).sum() + cost * (~called & (truth == 1)).sum())

    chosen = scores.cheapest_threshold(found, truth, miss_cost=cost)
    assert price(chosen) == min(price(step) for step in (-0.1, 0.1, 0.3, 0.6, 0.9, 1.1))


def test_a_cost_of_a_miss_decides_the_threshold_of_classes_and_of_probabilities() -> None:
    chances, truth = drawn()
    spec: Any = type("Spec", (), {"output": "classes", "classes": CLASSES.names, "normal_place": 1})()
    dear = evaluate.threshold_of(spec, chances, truth, miss_cost=100.0)
    cheap = evaluate.threshold_of(spec, chances, truth, miss_cost=0.1)
    assert dear is not None
    assert cheap is not None
    assert dear < cheap
    assert measured(dear)["escape_rate"] < measured(cheap)["escape_rate"]
    binary: Any = type("Spec", (), {"output": "probability"})()
    assert evaluate.threshold_of(binary, 1 - chances[:, 1], truth != 1, miss_cost=100.0) == pytest.approx(dear)


def test_classes_without_a_normal_one_have_no_threshold() -> None:
    chances, truth = drawn()
    spec: Any = type("Spec", (), {"output": "classes", "classes": CLASSES.names, "normal_place": None})()
    assert evaluate.threshold_of(spec, chances, truth, miss_cost=10.0) is None


def test_a_figure_that_says_nothing_of_classes_is_refused() -> None:
    evaluate.check_metrics(Evaluate(metrics=("macro_f1", "roc_auc"), primary="macro_f1"), "classes")
    with pytest.raises(UserError, match="rmse cannot be measured on a model that gives classes"):
        evaluate.check_metrics(Evaluate(metrics=("rmse",), primary="rmse"), "classes")
