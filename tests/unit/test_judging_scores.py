"""Judging scores by labels: what they do not tell is no figure, and the gate holds what they tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forgia.features import FeatureSpec
from forgia.splitting import Split
from forgia_jobs.judging.evaluate import Evaluation, evaluate
from forgia_jobs.request import Evaluate, Gate
from forgia_jobs.samples.data import Data
from forgia_jobs.telling.outbox import gate_word

FIGURES = ("f1", "false_alarm_rate", "missed_alarm_rate", "average_precision", "window_f1", "window_false_alarm_rate")
GATE = Gate(metric="f1", baseline_margin=0.05)


def judged(truth: dict[str, list[bool]], model: list[float], *, other: list[float], gate: Gate = GATE) -> Evaluation:
    """Of five validation and five test rows, in one run each; the same scores are given for both parts."""
    rows = np.arange(10)
    data = Data(
        spec=FeatureSpec(
            numeric=(), categorical=(), target="anomaly", output="score", samples={"kind": "windows", "length": 2}
        ),
        split=Split(train=rows[:0], validation=rows[:5], test=rows[5:]),
        groups=rows // 5,
        owners=np.array(["one"] * 10),
        source=None,  # type: ignore[arg-type]
        target=np.array([*truth["validation"], *truth["test"]], dtype=np.float32),
        left_out=0,
    )
    settings = Evaluate(metrics=FIGURES, primary="f1", gate=gate)
    said: dict[str, Any] = {
        name: {part: np.array(values, dtype=np.float32) for part in truth}
        for name, values in (("model", model), ("other", other))
    }
    said["model"]["validation"] = said["other"]["validation"] = np.array([0.1, 0.2, 0.3, 0.4, 0.5], dtype=np.float32)
    return evaluate(data, said["model"], {"other": said["other"]}, settings=settings, seed=0)


NORMAL, MIXED, BAD = [False] * 5, [False, False, True, True, False], [True] * 5
LOW, HIGH = [0.1, 0.1, 0.1, 0.2, 0.2], [0.9, 0.9, 0.9, 0.9, 0.1]


def test_without_anything_to_find_the_false_alarms_are_known_and_the_gate_holds_them() -> None:
    found = judged({"validation": NORMAL, "test": NORMAL}, HIGH, other=LOW)
    assert found.model.test == {"false_alarm_rate": 0.8, "window_false_alarm_rate": pytest.approx(2 / 3)}
    assert set(found.model.validation) == set(found.model.test)
    assert (found.primary, found.gate_metric) == ("false_alarm_rate", "false_alarm_rate")
    assert found.gate_failure is not None
    assert found.gate_failure.startswith("gate: false_alarm_rate 0.8 > baseline 0 + 0.05; anomaly is true in no row")
    assert "f1, missed_alarm_rate, average_precision, window_f1 cannot be known" in found.gate_failure
    assert found.to_json()["unknown"].endswith("the gate holds false_alarm_rate in place of f1")
    good = judged({"validation": NORMAL, "test": NORMAL}, LOW, other=LOW)
    assert good.gate_failure is None
    assert gate_word(GATE, good) == "passed on false_alarm_rate"


def test_a_gate_that_names_a_value_is_not_applied_to_another_figure() -> None:
    gate = Gate(metric="f1", minimum=0.5)
    found = judged({"validation": NORMAL, "test": NORMAL}, HIGH, other=LOW, gate=gate)
    assert (found.gate_failure, gate_word(gate, found)) == (None, "not applied")
    assert str(found.unknown).endswith("the gate is not applied")


def test_where_all_is_wrong_there_are_no_false_alarms_to_know() -> None:
    found = judged({"validation": MIXED, "test": BAD}, HIGH, other=LOW)
    assert set(found.model.test) == {"f1", "missed_alarm_rate", "average_precision", "window_f1"}
    assert (found.primary, found.gate_metric) == ("f1", "f1")
    assert str(found.unknown).startswith("anomaly is true in every row of the test part, so false_alarm_rate")


def test_labels_of_both_kinds_tell_everything() -> None:
    found = judged({"validation": NORMAL, "test": MIXED}, HIGH, other=LOW)
    assert tuple(found.model.test) == FIGURES
    assert set(found.model.validation) == {"false_alarm_rate", "window_false_alarm_rate"}
    assert found.unknown is None
