from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import features
from forgia.errors import UserError
from forgia.features import FeatureSpec

TABLE = pa.table(
    {
        "torque": [10.0, 20.0, None, 40.0],
        "speed": pa.array([1500, 1600, 1700, 1800], pa.int32()),
        "still": [1.0, 1.0, 1.0, 1.0],
        "grade": ["L", "M", None, "L"],
        "failed": [False, True, False, False],
    }
)


def fitted() -> FeatureSpec:
    return features.fit(
        TABLE,
        numeric=["torque", "speed", "still"],
        categorical=["grade"],
        target="failed",
        units={"torque": "N.m"},
    )


def test_a_spec_survives_its_json() -> None:
    spec = fitted().with_threshold(0.25)
    assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_statistics_pass_over_missing_values() -> None:
    torque, speed, still = fitted().numeric
    assert torque.mean == pytest.approx(70 / 3)
    assert torque.has_missing
    assert not speed.has_missing
    assert (still.std, still.edges) == (1.0, ())
    assert torque.unit == "N.m"


def test_missing_numbers_become_nan_and_unknown_categories_zero() -> None:
    strange = pa.table(
        {"torque": [None, float("inf")], "speed": [1, 2], "still": [0.0, 1.0], "grade": ["X", "M"], "more": ["a", "b"]}
    )
    found = fitted().encode(strange)
    assert found["numeric"].dtype == np.float32
    assert np.isnan(found["numeric"][:, 0]).all()
    assert found["categorical"].tolist() == [[0], [2]]


def test_a_column_of_nothing_but_nulls_is_encoded() -> None:
    found = fitted().encode(TABLE.set_column(0, "torque", pa.nulls(4)).set_column(3, "grade", pa.nulls(4)))
    assert np.isnan(found["numeric"][:, 0]).all()
    assert found["categorical"].tolist() == [[0]] * 4


def test_every_missing_and_every_wrong_column_is_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        fitted().encode(pa.table({"torque": ["high"], "grade": ["L"]}))
    assert {problem.field for problem in caught.value.problems} == {"torque", "speed", "still"}


def test_a_boolean_target_is_a_probability_and_a_number_a_value() -> None:
    assert fitted().output == "probability"
    assert fitted().target_mean == 0.25
    assert features.fit(TABLE, numeric=[], categorical=[], target="speed").output == "value"


def test_a_text_target_is_refused() -> None:
    with pytest.raises(UserError, match="boolean or a number"):
        features.fit(TABLE, numeric=[], categorical=[], target="grade")


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(UserError, match="schema version 9"):
        FeatureSpec.from_json({**fitted().to_json(), "schema_version": 9})


def test_only_the_most_frequent_categories_are_kept() -> None:
    names = [f"c{number}" for number in range(400)]
    table = pa.table({"grade": [*names, *names[:10]], "failed": [True] * 410})
    (feature,) = features.fit(table, numeric=[], categorical=["grade"], target="failed").categorical
    assert feature.size == 255
    assert set(names[:10]) <= set(feature.categories)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=50))
def test_edges_rise_from_the_least_to_the_greatest_value(values: list[float]) -> None:
    table = pa.table({"x": values, "y": [True] * len(values)})
    (feature,) = features.fit(table, numeric=["x"], categorical=[], target="y").numeric
    assert list(feature.edges) == sorted(set(feature.edges))
    if feature.edges:
        assert (feature.edges[0], feature.edges[-1]) == (min(values), max(values))
    else:
        assert len(set(values)) == 1


NUMBERS = st.none() | st.floats(-1e6, 1e6, allow_subnormal=False)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20), st.sampled_from(["difference", "product", "ratio"])
)
def test_a_derived_measurement_is_what_its_operation_says_and_survives_json(
    pairs: list[tuple[float | None, float | None]], operation: str
) -> None:
    table = pa.table({"a": [a for a, _ in pairs], "b": [b for _, b in pairs], "y": [True, *[False] * (len(pairs) - 1)]})
    table = table.cast(pa.schema([("a", pa.float64()), ("b", pa.float64()), ("y", pa.bool_())]))
    made = features.Derivation(name="made", operation=operation, of=("a", "b"))
    spec = features.fit(table, numeric=["a"], categorical=[], target="y", derived=[made])
    assert spec.columns == ("a", "b")
    encoded = features.FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))).encode(table)["numeric"]
    for (a, b), found in zip(pairs, encoded[:, 1], strict=True):
        if a is None or b is None or (operation == "ratio" and b == 0):
            assert np.isnan(found)
            continue
        wanted = {"difference": a - b, "product": a * b, "ratio": a / b if b else 0.0}[operation]
        if abs(wanted) > features.LARGEST:
            assert np.isnan(found)
        else:
            assert float(found) == pytest.approx(wanted, rel=1e-6, abs=1e-30)


def test_edges_lie_where_the_target_changes() -> None:
    from forgia_jobs.samples import edges

    values = np.linspace(0, 100, 2001)
    table = pa.table({"a": values, "y": values > 97.5})
    spec = features.fit(table, numeric=["a"], categorical=[], target="y")
    target = features.targets(table, "y")
    placed = edges.place(spec, spec.encode(table)["numeric"], target)
    assert min(abs(edge - 97.5) for edge in placed.numeric[0].edges) < 0.1
    assert (placed.numeric[0].edges[0], placed.numeric[0].edges[-1]) == (0.0, 100.0)
