"""Forecast windows: what they hold, what they may not know, and how a forecast is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgia import calendars, features, forecasting, recipe, series
from forgia.catalogue import Catalogue
from forgia.data_contract import Contract
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia.forecasting import Frame
from forgia.series import Grid
from forgia.vocabulary import Vocabulary

START = datetime(2025, 3, 3, tzinfo=UTC)
LENGTH, HORIZON = 48, 6


def readings(hours: int, *, lines: tuple[str, ...] = ("a",), hidden: int = 0) -> pa.Table:
    """Each line's load is its number times 1000 plus the hour, the last ones hidden; the plan is the hour."""
    rows: dict[str, list[Any]] = {"timestamp": [], "line_id": [], "electric_energy": [], "planned_production": []}
    for number, line in enumerate(lines):
        for hour in range(hours):
            rows["timestamp"].append(START + timedelta(hours=hour))
            rows["line_id"].append(line)
            rows["electric_energy"].append(None if hour >= hours - hidden else 1000.0 * number + hour)
            rows["planned_production"].append(float(hour))
    columns = {name: pa.array(values) for name, values in rows.items()}
    return pa.table({**columns, "timestamp": columns["timestamp"].cast(pa.timestamp("us", "UTC"))})


def spec_of(table: pa.Table) -> FeatureSpec:
    fitted = features.fit(
        table,
        numeric=["electric_energy", "planned_production"],
        categorical=[],
        target="electric_energy",
        output="quantiles",
        units={"electric_energy": "kWh"},
    )
    samples = {
        **{"kind": "windows", "length": LENGTH, "stride": 1, "horizon": HORIZON, "step_us": series.HOUR_US},
        **{"time_zone": "Europe/Rome", "holidays": "italy", "time": "timestamp", "group": "line_id"},
        "ahead": ["planned_production"],
    }
    return FeatureSpec.from_json({**fitted.to_json(), "samples": samples, "quantiles": [0.1, 0.5, 0.9]})


def grid_of(table: pa.Table) -> Grid:
    labels = np.unique(table.column("line_id").to_pylist(), return_inverse=True)[1]
    return series.regular(table, labels, time="timestamp", constant=["line_id"])


def last_load(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The last load and so much more an hour as it lies ahead; outer quantiles one away."""
    last = inputs["numeric"][:, -1, 0][:, None, None]
    ahead = np.arange(1, HORIZON + 1)[None, :, None]
    found: np.ndarray = (last + ahead + np.array([-1.0, 0.0, 1.0])).astype(np.float32)
    return found


def test_a_forecast_names_group_moment_and_step_and_a_column_a_quantile() -> None:
    table = readings(60, lines=("a", "b"))
    found = forecasting.forecast(spec_of(table), table, last_load)
    assert found.column_names == ["line_id", "timestamp", "step", "quantile_0.1", "quantile_0.5", "quantile_0.9"]
    assert found.num_rows == 2 * HORIZON
    first = found.slice(HORIZON, 1).to_pylist()[0]
    assert first["timestamp"] == START + timedelta(hours=60)
    assert (first["line_id"], first["step"], first["quantile_0.1"], first["quantile_0.5"]) == ("b", 1, 1059.0, 1060.0)


def test_rows_after_the_last_reading_tell_what_is_planned_and_nothing_else() -> None:
    table = readings(66, hidden=HORIZON)
    seen: dict[str, np.ndarray] = {}

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        seen.update(inputs)
        return last_load(inputs)

    found = forecasting.forecast(spec_of(readings(66)), table, run)
    assert found.column("timestamp")[0].as_py() == START + timedelta(hours=60)
    assert seen["numeric"][0, :, 0].tolist() == list(range(60 - LENGTH, 60))
    plan = seen["known"][0, :, len(calendars.NAMES)]
    assert plan.tolist() == list(range(60 - LENGTH, 66))


def test_without_a_plan_ahead_the_plan_is_missing_and_the_calendar_is_not() -> None:
    table = readings(60)
    seen: dict[str, np.ndarray] = {}
    forecasting.forecast(spec_of(table), table, lambda inputs: (seen.update(inputs), last_load(inputs))[1])
    ahead = seen["known"][0, LENGTH:]
    assert np.isnan(ahead[:, len(calendars.NAMES)]).all()
    assert not np.isnan(ahead[:, : len(calendars.NAMES)]).any()


def test_a_plan_that_is_missing_and_a_moment_that_came_twice_are_told() -> None:
    table = readings(60, lines=("a", "b"))
    spec = spec_of(table)
    said = "the model learnt from planned_production ahead, but 2 of 2 series have no value of it"
    assert [text.startswith(said) for text in forecasting.remarks(spec, table)] == [True]
    assert list(forecasting.remarks(spec, readings(66, hidden=HORIZON))) == []
    assert any(text.startswith(said) for text in forecasting.remarks(spec, table.drop_columns(["planned_production"])))
    twice = pa.concat_tables([readings(66, hidden=HORIZON), readings(60).slice(10, 3)])
    (text,) = forecasting.remarks(spec, twice)
    assert text == "3 moment(s) of 1 series (line_id) came more than once; the mean of their readings is used"


def test_a_series_with_too_short_a_past_is_left_out_and_none_at_all_is_refused() -> None:
    long, short = readings(60), readings(20, lines=("x",))
    found = forecasting.forecast(spec_of(long), pa.concat_tables([long, short]), last_load)
    assert set(found.column("line_id").to_pylist()) == {"a"}
    with pytest.raises(UserError, match="no series has 48 steps of history"):
        forecasting.forecast(spec_of(long), short, last_load)


def test_readings_at_another_step_than_in_training_are_refused() -> None:
    table = readings(60)
    quarter = table.set_column(
        0, "timestamp", pa.array([START + timedelta(minutes=15 * n) for n in range(60)], pa.timestamp("us", "UTC"))
    )
    with pytest.raises(UserError, match="every 900 s; the model knows readings every 3600 s"):
        forecasting.forecast(spec_of(table), quarter, last_load)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 199), max_size=120),
    st.integers(1, 60),
    st.integers(1, 30),
    st.integers(1, 9),
)
def test_a_window_is_taken_exactly_where_its_horizon_is_known_and_most_of_its_past(
    missing: list[int], length: int, horizon: int, stride: int
) -> None:
    table = readings(200, lines=("a", "b"))
    grid = grid_of(table)
    known = np.ones(400, dtype=bool)
    known[missing] = False
    found = forecasting.window_ends(grid, known, length=length, horizon=horizon, stride=stride)
    wanted = [
        end
        for start in (0, 200)
        for end in range(start + length - 1, start + 200 - horizon)
        if (start + 199 - horizon - end) % stride == 0
        if known[end + 1 : end + 1 + horizon].all()
        and known[end + 1 - length : end + 1].sum() >= forecasting.SEEN * length
    ]
    assert found.tolist() == wanted


def test_the_level_of_a_series_is_that_of_its_own_past_and_of_nothing_later() -> None:
    grid = grid_of(readings(100, lines=("a", "b")))
    target = grid.table.column("electric_energy").to_numpy().astype(np.float32)
    target[30] = np.nan
    found = forecasting.levels(grid, target)
    assert found[0].tolist() == [0.0, 0.0]
    assert found[100].tolist() == [1000.0, 0.0]
    past = np.delete(target[:60], 30)
    np.testing.assert_allclose(found[59], [past.mean(), past.std()], rtol=1e-5)
    later = target.copy()
    later[60:100] *= 7
    np.testing.assert_array_equal(forecasting.levels(grid, later)[:60], found[:60])


@pytest.mark.parametrize(("minutes", "length", "seasons"), [(60, 168, (168, 24)), (15, 96, (96,)), (60, 12, (1,))])
def test_seasons_are_a_week_and_a_day_as_far_as_the_past_reaches(
    minutes: int, length: int, seasons: tuple[int, ...]
) -> None:
    spec = spec_of(readings(60))
    frame = Frame.of(spec)
    changed = Frame(
        **{
            **{name: getattr(frame, name) for name in Frame.__dataclass_fields__},
            **{"length": length, "step_us": minutes * 60 * series.SECOND_US, "horizon": 30},
        }
    )
    assert changed.seasons == seasons
    for season in seasons:
        before = changed.rows_before(season)
        assert all(0 <= row < length and (length + step - row) % season == 0 for step, row in enumerate(before))
        assert all(length + step - row >= 1 for step, row in enumerate(before))


COLUMNS = [
    {"concept": "electric_energy", "role": "target"},
    {"concept": "timestamp", "role": "time", "kind": "time"},
    {"concept": "planned_production", "required": False, "ahead": True},
]


@pytest.mark.parametrize(
    ("samples", "output", "quantiles"),
    [
        ({"kind": "windows", "length": 4, "horizon": 2}, "value", []),
        ({"kind": "windows", "length": 4}, "quantiles", [0.5]),
        ({"kind": "windows", "length": 4, "horizon": 2}, "quantiles", []),
        ({"kind": "windows", "length": 4, "horizon": 2}, "quantiles", [0.9, 0.1]),
    ],
)
def test_a_contract_says_horizon_and_ascending_quantiles_together_or_neither(
    samples: dict[str, Any], output: str, quantiles: list[float]
) -> None:
    with pytest.raises(ValidationError, match="quantiles"):
        Contract.model_validate(
            {"columns": COLUMNS, "samples": samples, "output": output, "quantiles": quantiles, "split": {"by": "time"}}
        )


def test_the_catalogues_recipe_knows_plan_and_weather_ahead() -> None:
    catalogue = Catalogue()
    found = recipe.load(catalogue.recipe("energy-forecasting"), Vocabulary.load(catalogue)).recipe
    columns = found.data["lines"].contract.columns
    assert [column.concept for column in columns if column.ahead] == ["planned_production", "ambient_temperature"]
    assert found.evaluate.baselines == ("seasonal-naive", "gradient-boosted-trees")
