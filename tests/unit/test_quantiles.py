"""Figures of quantiles against scikit-learn's, and the baselines and the split of forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
metrics = pytest.importorskip("sklearn.metrics")

from forgia import forecasting  # noqa: E402
from forgia.series import HOUR_US, Grid  # noqa: E402
from forgia_jobs.judging import quantiles, scores  # noqa: E402
from forgia_jobs.telling import forecast_plots  # noqa: E402

LEVELS = (0.1, 0.5, 0.9)


def drawn(seed: int, *, samples: int = 40, steps: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    found = np.sort(random.normal(10, 3, (samples, steps, len(LEVELS))), axis=2)
    return found.astype(np.float32), random.normal(10, 3, (samples, steps)).astype(np.float32)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_pinball_is_scikit_learns_averaged_over_quantiles(seed: int) -> None:
    found, truth = drawn(seed)
    expected = np.mean(
        [
            metrics.mean_pinball_loss(truth.ravel(), found[..., place].ravel(), alpha=share)
            for place, share in enumerate(LEVELS)
        ]
    )
    names = ["pinball", "mae", "coverage"]
    told = scores.measure(names, predictions=found, targets=truth, threshold=None, levels=LEVELS)
    assert told["pinball"] == pytest.approx(expected, rel=1e-6)
    assert told["mae"] == pytest.approx(metrics.mean_absolute_error(truth.ravel(), found[..., 1].ravel()), rel=1e-6)
    assert quantiles.pinball_by_step(found, truth, LEVELS).mean() == pytest.approx(expected, rel=1e-6)


def test_the_true_quantiles_of_a_distribution_have_the_least_pinball_loss_and_cover_their_share() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(0, 1, (4000, 3))
    right = np.broadcast_to(np.array(LEVELS), (4000, 3, 3))
    told = quantiles.measure(["pinball", "coverage"], predictions=right, targets=truth, levels=LEVELS)
    assert told["coverage"] == pytest.approx(0.8, abs=0.02)
    for moved in (right - 0.05, right + 0.05, right * 0.9):
        assert quantiles.pinball(moved, truth, LEVELS).mean() > told["pinball"]


def test_a_value_on_the_edge_of_the_interval_is_covered() -> None:
    found = np.array([[[1.0, 2.0, 3.0]]])
    for truth, covered in ((1.0, 1), (3.0, 1), (0.99, 0), (3.01, 0)):
        assert quantiles.coverage(found, np.array([[truth]]), LEVELS).tolist() == [covered]


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, np.ndarray, int]:
    """Some series of different spans, and the windows among them that are kept."""
    horizon = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(120, 250), min_size=1, max_size=3))
    begins = [draw(st.integers(0, 100)) for _ in lengths]
    times = np.concatenate([np.arange(begin, begin + rows) for begin, rows in zip(begins, lengths, strict=True)])
    series = np.repeat(np.arange(len(lengths)), lengths)
    last = np.append(series[horizon:] == series[:-horizon], np.zeros(horizon, dtype=bool))
    dropped = draw(st.lists(st.integers(0, len(times) - 1), max_size=40))
    last[dropped] = False
    grid = Grid(table=None, series=series, times=times * HOUR_US, step_us=HOUR_US)
    return grid, np.flatnonzero(last), horizon


@given(grids())
@settings(max_examples=60)
def test_no_moment_is_an_answer_in_two_parts_and_none_that_is_asked_for_was_seen_in_training(
    case: tuple[Grid, np.ndarray, int],
) -> None:
    grid, ends, horizon = case
    split = forecasting.split_windows(grid, ends, horizon=horizon, fractions=(0.7, 0.15, 0.15), role="lines")
    spans = []
    for part in ("train", "validation", "test"):
        now = grid.times[ends[split.part(part)]]
        spans.append((now.min() + grid.step_us, now.max() + horizon * grid.step_us, now.max()))
    (_, train_end, _), (validation_begin, validation_end, _), (test_begin, _, _) = spans
    assert train_end < validation_begin
    assert validation_end < test_begin
    kept = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(kept)) == len(kept)
    assert len(kept) >= len(ends) - 2 * horizon * len(np.unique(grid.series)), "no more goes than must"


def test_the_windows_of_a_fan_follow_each_other_without_overlap() -> None:
    ends = np.array([*range(100, 160), *range(200, 400)])
    chosen = ends[forecast_plots.following(ends, horizon=24, rows=96)]
    assert (np.diff(chosen) >= 24).all()
    assert chosen[-1] - chosen[0] < 96
    assert len(chosen) == 4
