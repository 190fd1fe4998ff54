"""The profile of a table: exact figures, fair samples, honest bounds, and the same answer however the table is cut."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.dataset import profiling
from forgia.dataset.manifest import Column
from forgia.dataset.sampling import RowDigests, RowSample, row_keys

KINDS = {pa.float64(): "number", pa.int64(): "number", pa.bool_(): "boolean", pa.string(): "category"}


def profile(
    table: pa.Table, *, rows: int = 1000, kinds: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    columns = [
        Column(
            name=field.name,
            source=field.name,
            concept=field.name,
            kind=(kinds or {}).get(field.name) or KINDS.get(field.type, "time"),
        )
        for field in table.schema
    ]
    profiler = profiling.Profiler(columns, **options)
    for batch in table.to_batches(max_chunksize=rows):
        profiler.update(batch)
    found = profiler.result()
    json.dumps(found, allow_nan=False)
    return found


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in found["columns"] if item["name"] == name)


@given(
    values=st.lists(st.floats(-1e12, 1e12) | st.none(), min_size=1, max_size=60),
    rows=st.integers(1, 20),
    shift=st.sampled_from([0.0, 1e9]),
)
@settings(max_examples=60, deadline=None)
def test_figures_of_numbers_equal_those_of_the_whole_column(
    values: list[float | None], rows: int, shift: float
) -> None:
    shifted = [None if value is None else value + shift for value in values]
    found = column(profile(pa.table({"x": pa.array(shifted, pa.float64())}), rows=rows), "x")
    present = np.array([value for value in shifted if value is not None])
    assert found["nulls"] == len(values) - len(present)
    if not len(present):
        assert found["min"] is found["mean"] is found["std"] is None
        return
    assert (found["min"], found["max"]) == (present.min(), present.max())
    assert found["mean"] == pytest.approx(math.fsum(present) / len(present), rel=1e-9, abs=1e-3)
    if len(present) > 1:
        assert found["std"] == pytest.approx(float(present.std(ddof=1)), rel=1e-6, abs=1e-3)


def test_a_large_mean_does_not_eat_a_small_spread() -> None:
    values = 1e9 + np.tile([0.0, 1.0], 5000)
    assert column(profile(pa.table({"x": values}), rows=777), "x")["std"] == pytest.approx(0.5, rel=1e-3)


def test_what_a_profile_says_does_not_depend_on_how_the_rows_were_cut() -> None:
    random = np.random.default_rng(0)
    table = pa.table({"x": random.normal(size=60_000), "grade": random.choice(list("LMH"), 60_000)})
    one, other = profile(table, rows=60_000), profile(table, rows=4_321)
    assert column(one, "x")["quantiles"] == column(other, "x")["quantiles"]
    assert column(one, "x")["histogram"] == column(other, "x")["histogram"]
    assert column(one, "grade") == column(other, "grade")


def test_quantiles_of_a_sample_are_near_those_of_the_table() -> None:
    values = np.random.default_rng(1).random(200_000)
    found = profile(pa.table({"x": values}), rows=30_000)
    assert found["sample_rows"] <= profiling.SAMPLE_ROWS < found["rows"]
    for share, value in column(found, "x")["quantiles"].items():
        assert value == pytest.approx(float(share), abs=0.015)


@pytest.mark.parametrize("machines", [2, 3, 8, 64])
def test_the_sample_is_fair_to_machines_that_take_turns(machines: int) -> None:
    sample = RowSample(["machine"], cap=2_000)
    turns = pa.record_batch({"machine": np.arange(100_000) % machines})
    for start in range(0, 100_000, 9_999):
        sample.update(turns.slice(start, 9_999))
    counts = np.bincount(sample.column("machine").to_numpy(), minlength=machines)
    assert sample.rows > 1_000
    assert counts.min() > 0.6 * counts.mean()


def test_values_beyond_what_is_usual_are_counted_exactly() -> None:
    table = pa.table({"air": [290.0, 295.0, 23.5, None, 24.0, 400.0]})
    found = column(profile(table, rows=2, typical_ranges={"air": (230, 330)}), "air")
    assert found["beyond_typical_range"] == 3
    assert found["typical_range"] == [230, 330]


def test_far_out_values_are_found_and_rare_events_are_not_called_so() -> None:
    values = np.append(np.random.default_rng(0).normal(size=998), [50.0, -50.0])
    found = profile(pa.table({"x": values, "event": np.append(np.zeros(990), np.ones(10))}))
    assert column(found, "x")["outliers"]["count"] == 2
    assert "interquartile" in column(found, "x")["outliers"]["rule"]
    assert column(found, "event")["outliers"]["count"] == 0


def test_numbers_that_are_not_finite_are_counted_and_spoil_nothing() -> None:
    found = column(profile(pa.table({"x": [1.0, math.nan, 3.0, math.inf]}), rows=2), "x")
    assert (found["min"], found["max"], found["mean"], found["not_finite"]) == (1.0, 3.0, 2.0, 2)


@pytest.mark.parametrize("values", [[1e9, 1e9 + 1e-6], [1e308, -1e308, 1e308], [5e-324, 0.0], [1e200, -1e200, 3.0]])
def test_values_at_the_edge_of_doubles_make_a_profile_and_no_warning(values: list[float]) -> None:
    found = column(profile(pa.table({"x": values})), "x")
    assert (found["min"], found["max"]) == (min(values), max(values))


def test_constant_and_empty_columns_are_seen() -> None:
    table = pa.table({"same": [7, 7, 7], "none": pa.array([None] * 3, pa.float64()), "word": ["a", "a", "a"]})
    found = profile(table)
    assert column(found, "same")["constant"]
    assert column(found, "word")["constant"]
    assert not column(found, "none")["constant"]
    assert column(found, "none")["nulls_share"] == 1.0


def test_counts_of_classes_and_categories_are_exact() -> None:
    table = pa.table({"failed": [True, False, False, None, False], "grade": ["L", "M", "L", "L", None]})
    found = profile(table, rows=2)
    assert column(found, "failed")["top"] == [{"value": False, "count": 3}, {"value": True, "count": 1}]
    assert column(found, "grade")["top"] == [{"value": "L", "count": 3}, {"value": "M", "count": 1}]


def test_too_many_values_are_said_to_be_more_and_texts_are_not_repeated() -> None:
    table = pa.table({"id": [f"P{number}" for number in range(9000)], "note": ["Rossi"] * 9000})
    found = profile(table, kinds={"note": "text"})
    assert column(found, "id")["distinct_is_more"]
    assert column(found, "id")["top"] is None
    assert column(found, "note")["distinct"] == 1
    assert "Rossi" not in json.dumps(found)


def test_times_have_a_span_a_largest_gap_and_an_order() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    times = [start, start + timedelta(hours=1), None, start + timedelta(hours=5), start + timedelta(hours=4)]
    found = column(profile(pa.table({"t": pa.array(times, pa.timestamp("us", "UTC"))}), rows=2), "t")
    assert (found["first"], found["last"]) == ("2026-03-02T00:00:00Z", "2026-03-02T05:00:00Z")
    assert (found["largest_gap_s"], found["steps_back"], found["nulls"]) == (4 * 3600, 1, 1)


def test_an_empty_table_has_a_profile() -> None:
    found = profile(pa.table({"x": pa.array([], pa.float64()), "s": pa.array([], pa.string())}))
    assert found["rows"] == 0
    assert found["duplicates"]["complete"]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.5, None]),
            st.sampled_from(["", "a", "ab", "b", None]),
            st.sampled_from([True, None]),
        ),
        min_size=1,
        max_size=40,
    ),
    size=st.integers(1, 15),
)
@settings(max_examples=60, deadline=None)
def test_repeated_rows_of_a_small_table_are_counted_exactly(rows: list[tuple[Any, ...]], size: int) -> None:
    numbers, words, flags = zip(*rows, strict=True)
    table = pa.table(
        {"n": pa.array(numbers, pa.float64()), "w": pa.array(words, pa.string()), "f": pa.array(flags, pa.bool_())}
    )
    found = profile(table, rows=size)["duplicates"]
    assert found["complete"]
    assert found["found"] == len(rows) - len(set(rows))


def test_repeated_rows_of_a_large_table_are_estimated_and_the_answer_says_so() -> None:
    random = np.random.default_rng(0)
    once = pa.record_batch({"x": random.random(50_000), "s": [f"part {number}" for number in range(50_000)]})
    digests = RowDigests(cap=4_000)
    for batch in (once.slice(0, 20_000), once.slice(20_000), once.slice(0, 25_000)):
        digests.update(batch)
    compared, repeated = digests.result()
    assert 1_000 < compared <= 4_000
    assert repeated / compared == pytest.approx(1 / 3, abs=0.05)


def test_keys_of_texts_depend_on_every_byte_and_its_place_and_not_on_the_neighbours() -> None:
    words = ["ab", "ba", "a", "b", "", "aab", "à", "ab "]
    keys = row_keys([pa.array(words)])
    assert len(set(keys.tolist())) == len(words)
    assert row_keys([pa.array(["zzz", *words]).slice(1)]).tolist() == keys.tolist()
