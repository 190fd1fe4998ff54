"""Answers to windows outside training: the same windows, the same numbers, in the order of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia import histories, reference
from forgia.errors import UserError
from forgia.features import FeatureSpec, NumericFeature
from forgia.reference import Beginning


def spec(**changes: Any) -> FeatureSpec:
    samples = {"kind": "windows", "length": 3, "lead_in": True, "group": "machine", "time": "cycle"}
    return FeatureSpec(
        numeric=(NumericFeature(name="reading"),),
        categorical=(),
        target="left",
        output="value",
        samples={**samples, **changes.pop("samples", {})},
        **changes,
    )


def table(lengths: list[int], *, seed: int = 0) -> pa.Table:
    machine = np.repeat(np.arange(len(lengths)), lengths)
    cycle = np.concatenate([np.arange(length) for length in lengths])
    mixed = np.random.default_rng(seed).permutation(len(machine))
    return pa.table(
        {
            "machine": pa.array([f"m{number}" for number in machine[mixed]]),
            "cycle": cycle[mixed],
            "reading": (machine * 100.0 + cycle)[mixed],
        }
    )


def total(inputs: histories.Inputs) -> np.ndarray:
    """A model that adds up what it sees."""
    assert inputs["numeric"].dtype == np.float32
    return np.asarray(inputs["numeric"].sum(axis=(1, 2)), dtype=np.float32)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    length=st.integers(1, 5),
    seed=st.integers(0, 50),
)
def test_every_row_is_answered_from_the_rows_before_it(lengths: list[int], length: int, seed: int) -> None:
    rows = table(lengths, seed=seed)
    found = histories.answers(spec(samples={"length": length}), rows, total)
    for row, answer in zip(rows.to_pylist(), found.to_pylist(), strict=True):
        number, cycle = int(row["machine"][1:]), row["cycle"]
        wanted = sum(number * 100 + max(cycle - back, 0) for back in range(length))
        assert answer == pytest.approx(wanted)


def test_so_many_windows_at_once_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table([40, 30])
    whole = histories.answers(spec(), rows, total)
    monkeypatch.setattr(histories, "NUMBERS_AT_ONCE", 30)
    assert histories.answers(spec(), rows, total).equals(whole)


def test_without_a_lead_in_the_first_rows_have_no_answer() -> None:
    rows = table([4, 2])
    found = histories.answers(spec(samples={"lead_in": False}), rows, total)
    known = {
        (row["machine"], row["cycle"]) for row, answer in zip(rows.to_pylist(), found, strict=True) if answer.is_valid
    }
    assert known == {("m0", 2), ("m0", 3)}


def test_readings_are_held_against_what_is_usual_as_in_training() -> None:
    rows = table([6, 5])
    usual = spec(beginning=Beginning(rows=2, skip=2, least=(0.5,)))
    values = {(row["machine"], row["cycle"]): row for row in rows.to_pylist()}
    found = histories.answers(usual, rows, lambda seen: seen["numeric"][:, -1, 0])
    for row, answer in zip(rows.to_pylist(), found.to_pylist(), strict=True):
        first = values[row["machine"], 0]["reading"]
        assert answer == pytest.approx((row["reading"] - (first + 0.5)) / 0.5)


def test_series_that_end_within_their_beginning_are_counted() -> None:
    usual = spec(beginning=Beginning(rows=4, least=(0.5,)))
    assert histories.short(usual, table([3, 9, 4])) == (1, 3)
    assert histories.short(spec(), table([3, 9, 4])) == (0, 3)


def test_conditions_come_before_the_beginning() -> None:
    readings = np.array([[0.0, 10.0], [0.0, 12.0], [5.0, 110.0], [5.0, 112.0]] * 30, dtype=np.float32)
    conditions = reference.fit_conditions(readings, (0,))
    both = FeatureSpec(
        numeric=(NumericFeature(name="setting"), NumericFeature(name="reading")),
        categorical=(),
        target="left",
        output="value",
        conditions=conditions,
        beginning=Beginning(rows=4, least=(1.0, 1.0)),
    )
    found = both.standardise(readings, np.array([0]))
    np.testing.assert_allclose(found[:, 1], np.tile([-1.0, 1.0], 60), atol=1e-5)
    assert both.scales == ((0.0, 0.0), (1.0, 1.0))
    assert FeatureSpec.from_json(both.to_json()) == both


def test_what_a_table_lacks_is_told() -> None:
    assert list(histories.remarks(spec(), ["machine", "cycle", "reading"])) == []
    said = list(histories.remarks(spec(), ["reading"]))
    assert said[0] == "the input has no machine: its rows are read as one history"
    assert "in the order of time" in said[1]
    rows = table([3]).select(["reading"])
    assert histories.answers(spec(samples={"length": 1}), rows, total).to_pylist() == rows.column("reading").to_pylist()


def test_rows_without_a_time_are_refused() -> None:
    rows = table([3]).set_column(1, "cycle", pa.array([0, None, 2]))
    with pytest.raises(UserError, match=r"1 row\(s\) have no cycle"):
        histories.answers(spec(), rows, total)


def test_no_rows_have_no_answers() -> None:
    assert len(histories.answers(spec(), table([3]).slice(0, 0), total)) == 0
