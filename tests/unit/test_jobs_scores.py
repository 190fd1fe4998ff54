from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from forgia_jobs.judging import scores

PAIRS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(true for _, true in rows) < len(rows)
)


@given(PAIRS)
def test_figures_are_those_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    found = np.array([value / 20 for value, _ in rows], dtype=np.float32)
    truth = np.array([float(true) for _, true in rows])
    decided = found >= 0.5
    names = [*scores.DECISION_FIGURES, "average_precision", "roc_auc", "brier", "mae", "rmse", "r2"]
    ours = scores.measure(names, predictions=found, targets=truth, threshold=0.5)
    assert ours["f1"] == pytest.approx(metrics.f1_score(truth, decided, zero_division=0))
    assert ours["precision"] == pytest.approx(metrics.precision_score(truth, decided, zero_division=0))
    assert ours["recall"] == pytest.approx(metrics.recall_score(truth, decided))
    assert ours["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, decided))
    assert ours["average_precision"] == pytest.approx(metrics.average_precision_score(truth, found))
    assert ours["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, found))
    assert ours["brier"] == pytest.approx(metrics.brier_score_loss(truth, found))


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=40))
def test_errors_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    found, truth = np.array(rows).T
    ours = scores.measure(["mae", "rmse"], predictions=found, targets=truth, threshold=None)
    assert ours["mae"] == pytest.approx(metrics.mean_absolute_error(truth, found))
    assert ours["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, found))


@given(PAIRS)
def test_no_other_threshold_gives_a_greater_f1(rows: list[tuple[int, bool]]) -> None:
    found = np.array([value / 20 for value, _ in rows])
    truth = np.array([float(true) for _, true in rows])

    def at(threshold: float) -> float:
        return scores.measure(["f1"], predictions=found, targets=truth, threshold=threshold)["f1"]

    assert at(scores.best_threshold(found, truth)) == pytest.approx(max(at(step) for step in np.linspace(0, 1, 101)))


def test_without_a_true_row_the_threshold_is_one_half() -> None:
    assert scores.best_threshold(np.array([0.1, 0.9]), np.zeros(2)) == 0.5


def test_the_interval_holds_the_figure_and_narrows_with_more_groups() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for groups in (20, 200):
        truth = generator.integers(0, 2, groups * 5).astype(float)
        found = truth * 0.3 + generator.random(len(truth))
        low, high = scores.bootstrap_interval(
            scores.roc_auc, predictions=found, targets=truth, groups=np.repeat(np.arange(groups), 5), seed=0, draws=200
        )
        assert low <= scores.roc_auc(found, truth) <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_any_number_is_better_than_none_and_what_is_no_number_never_is() -> None:
    for name in ("rmse", "f1"):
        assert scores.is_better(name, 1.0, None)
        assert not scores.is_better(name, float("nan"), None)
        assert not scores.is_better(name, float("nan"), 1.0)
    assert scores.is_better("rmse", 1.0, 2.0)
    assert not scores.is_better("f1", 1.0, 2.0)
