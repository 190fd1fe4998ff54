from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.reference import Beginning, Conditions, fit_beginning, fit_conditions

WAYS = np.array([[0.0, 0.0, 100.0], [10.0, 0.25, 100.0], [25.0, 0.62, 60.0], [42.0, 0.84, 100.0]])


def engines(ways: int, rows: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three settings, a reading that depends on them, one that never changes; and the way of each row."""
    random = np.random.default_rng(seed)
    way = random.integers(ways, size=rows)
    settings = WAYS[way] + random.normal(0, 0.002, (rows, 3)) * [1, 0.1, 0]
    reading = 640.0 - 50 * way + random.normal(0, 0.5, rows)
    return np.column_stack([settings, reading, np.full(rows, 518.67)]).astype(np.float32), way


@pytest.mark.parametrize("ways", [2, 3, 4])
def test_ways_to_run_are_found_and_taken_out_of_the_readings(ways: int) -> None:
    values, way = engines(ways)
    found = fit_conditions(values, (0, 1, 2))
    assert found is not None
    assert len(found.centres) == ways
    standard = found.standardise(values)
    for number in range(ways):
        assert standard[way == number, 3].mean() == pytest.approx(0, abs=0.01)
        assert standard[way == number, 3].std() == pytest.approx(1, abs=0.01)
    assert np.abs(standard[:, 4]).max() < 1e-3


def test_settings_that_only_waver_are_one_condition() -> None:
    values, _ = engines(1)
    found = fit_conditions(values, (0, 1, 2))
    assert found is not None
    assert len(found.centres) == 1


def test_new_rows_go_to_the_nearest_condition_and_a_missing_reading_stays_missing() -> None:
    values, _ = engines(4)
    found = fit_conditions(values, (0, 1, 2))
    assert found is not None
    row = np.array([[41.0, np.nan, 99.0, np.nan, 518.67]], dtype=np.float32)
    assert found.centres[found.of(row)[0]][0] == pytest.approx(42.0, abs=0.01)
    assert np.isnan(found.standardise(row)[0, 3])


def test_without_settings_there_are_no_conditions() -> None:
    assert fit_conditions(engines(2)[0], ()) is None
    assert fit_conditions(np.zeros((0, 5), np.float32), (0,)) is None


def test_what_was_found_comes_back_from_json() -> None:
    found = fit_conditions(engines(3)[0], (0, 1, 2))
    assert found is not None
    assert Conditions.from_json(json.loads(json.dumps(asdict(found)))) == found
    beginning = Beginning(rows=3, skip=2, least=(0.5, 1.0))
    assert Beginning.from_json(json.loads(json.dumps(asdict(beginning)))) == beginning


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5), rows=st.integers(1, 12), skip=st.integers(0, 3))
def test_each_series_is_held_against_its_own_beginning(lengths: list[int], rows: int, skip: int) -> None:
    random = np.random.default_rng(sum(lengths))
    lengths = [length + skip for length in lengths]
    firsts = np.cumsum([0, *lengths[:-1]])
    values = random.normal(100, 10, (sum(lengths), 2))
    beginning = Beginning(rows=rows, skip=skip, least=(1.0, 1.0))
    found = beginning.standardise(values, firsts)
    for first, length in zip(firsts, lengths, strict=True):
        start = first + skip
        own = values[start : min(start + rows, first + length)]
        wanted = (values[first : first + length] - own.mean(0)) / np.maximum(own.std(0), 1.0)
        np.testing.assert_allclose(found[first : first + length], wanted, atol=1e-9)


def test_a_sensor_that_is_still_at_the_beginning_is_not_believed() -> None:
    random = np.random.default_rng(1)
    values = random.normal(50, 2.0, (300, 1))
    values[200:210] = 50.0
    found = fit_beginning(values, np.array([0, 100, 200]), rows=10)
    assert 0.2 < found.least[0] < 0.8
    assert np.abs(found.standardise(values, np.array([0, 100, 200]))).max() < 40


def test_a_sensor_that_never_moved_is_told_in_its_own_unit_once_it_moves() -> None:
    values = np.full((40, 1), 518.67, dtype=np.float32)
    found = fit_beginning(values, np.array([0, 20]), rows=10)
    assert found.least == (1.0,)
    moved = np.full((20, 1), 518.67, dtype=np.float32)
    moved[15:] += 2
    assert found.standardise(moved, np.array([0]))[-1, 0] == pytest.approx(2, abs=1e-3)
