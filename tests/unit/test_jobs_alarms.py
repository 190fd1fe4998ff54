from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia_jobs.judging import alarms, scores

LABELS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50)


@given(rows=LABELS)
def test_alarm_rates_are_what_is_left_of_recall_and_of_its_twin(rows: list[tuple[bool, bool]]) -> None:
    decided, truth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = scores.measure(
        ["false_alarm_rate", "missed_alarm_rate", "recall"], predictions=decided, targets=truth, threshold=0.5
    )
    assert found["missed_alarm_rate"] == pytest.approx(1 - found["recall"] if truth.any() else 0)
    normal = decided[truth == 0]
    assert found["false_alarm_rate"] == pytest.approx(normal.mean() if len(normal) else 0)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5), length=st.integers(1, 7))
def test_windows_follow_each_other_within_a_group(lengths: list[int], length: int) -> None:
    groups = np.repeat(np.arange(len(lengths)), lengths)
    starts = alarms.window_starts(groups, length=length)
    assert len(starts) == sum(-(-count // length) for count in lengths)
    for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True):
        assert len(set(groups[start:stop])) == 1
        assert stop - start <= length


def test_a_window_is_as_bad_as_its_worst_row() -> None:
    predictions = np.array([0.1, 0.9, 0.1, 0.2, 0.1, 0.1])
    targets = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    names = ["f1", "window_f1", "window_false_alarm_rate", "window_missed_alarm_rate"]
    starts = alarms.window_starts(np.zeros(6), length=2)
    found = scores.measure(names, predictions=predictions, targets=targets, threshold=0.5, window_starts=starts)
    assert found == {
        "f1": 0.0,
        "window_f1": pytest.approx(2 / 3),
        "window_false_alarm_rate": 0.0,
        "window_missed_alarm_rate": 0.5,
    }


def test_without_an_anomaly_hardly_any_normal_row_reaches_the_threshold() -> None:
    values = np.random.default_rng(0).random(1000)
    assert (values >= alarms.quantile_threshold(values)).mean() == pytest.approx(0.01, abs=0.002)
    assert alarms.quantile_threshold(values[:0]) == 0.0


def test_the_penalty_of_a_prognosis_is_that_of_the_challenge() -> None:
    truth = np.array([50.0, 50.0, 50.0])
    early, late = np.array([37.0, 50.0, 50.0]), np.array([60.0, 50.0, 50.0])
    assert scores.phm08(early, truth) == pytest.approx(math.e - 1)
    assert scores.phm08(late, truth) == pytest.approx(math.e - 1)
    assert scores.phm08(truth, truth) == 0.0
    assert scores.phm08(truth + 20, truth) > scores.phm08(truth - 20, truth)
    assert scores.is_better("phm08", 1.0, 2.0)
