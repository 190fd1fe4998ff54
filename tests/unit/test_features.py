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
    assert (still.std, still.quantiles) == (1.0, ())
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
def test_quantiles_rise_from_the_least_to_the_greatest_value(values: list[float]) -> None:
    table = pa.table({"x": values, "y": [True] * len(values)})
    (feature,) = features.fit(table, numeric=["x"], categorical=[], target="y").numeric
    assert list(feature.quantiles) == sorted(set(feature.quantiles))
    if feature.quantiles:
        assert (feature.quantiles[0], feature.quantiles[-1]) == (min(values), max(values))
    else:
        assert len(set(values)) == 1
