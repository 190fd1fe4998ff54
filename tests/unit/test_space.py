"""The points of a sweep: flags as axes, grids, and points that fill a space evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import space
from forgia.client import Client
from forgia.errors import UserError
from forgia.recipe import METRICS, Parameter, Recipe
from forgia.space import Axis


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Client().open_recipe("predictive-maintenance").recipe


def test_a_grid_is_every_combination_in_the_order_of_the_flags(recipe: Recipe) -> None:
    axes = space.axes(recipe, ["width=64,32", "depth=1..3", "train.learning_rate=0.001..0.1:3:log"], is_grid=True)
    points = space.points(axes, count=None, seed=0)
    assert len(points) == 2 * 3 * 3
    assert points[0] == {"params.width": 64, "params.depth": 1, "train.learning_rate": 0.001}
    assert points[-1] == {"params.width": 32, "params.depth": 3, "train.learning_rate": 0.1}
    assert sorted({float(point["train.learning_rate"]) for point in points}) == [0.001, 0.01, 0.1]


def test_a_bare_name_takes_what_the_recipe_declares(recipe: Recipe) -> None:
    (width, dropout) = space.axes(recipe, ["width", "dropout"], is_grid=False)
    assert (width.low, width.high, width.is_whole) == (4, 1024, True)
    assert (dropout.low, dropout.high, dropout.is_whole) == (0, 0.9, False)


def test_a_scale_comes_from_the_recipe_unless_the_flag_says_otherwise() -> None:
    declared = Parameter(type="float", default=0.1, range=(0.001, 1), scale="log", help="rate")
    assert space.declared_axis("params.rate", declared, is_grid=False).is_log
    found = space.RANGE.match("0.001..1:linear")
    assert found
    assert not space.ranged("params.rate", declared, found, is_grid=False).is_log
    with pytest.raises(ValueError, match="above 0"):
        Parameter(type="float", default=0.1, range=(0, 1), scale="log", help="rate")


def test_every_problem_of_the_flags_is_told_at_once(recipe: Recipe) -> None:
    over = ["widht=1", "depth=3..1", "learning_rate=0.1..1", "dropout=0..0.5:log", "width=1..2:many", "width=none"]
    with pytest.raises(UserError) as caught:
        space.axes(recipe, over, is_grid=True)
    text = str(caught.value)
    for words in ("did you mean width", "lower number first", "0.1..1:5", "no logarithm", "'many'", "expected int"):
        assert words in text
    assert len(caught.value.problems) == len(over)
    with pytest.raises(UserError, match="named twice"):
        space.axes(recipe, ["width=8", "params.width=16"], is_grid=True)
    with pytest.raises(UserError, match="say what varies"):
        space.axes(recipe, [], is_grid=True)


def test_a_space_that_is_too_large_or_too_small_is_told(recipe: Recipe) -> None:
    many = space.axes(recipe, ["width=4..1024", "members=1..64"], is_grid=True)
    with pytest.raises(UserError, match=r"65344 points.*10000"):
        space.points(many, count=None, seed=0)
    few = space.axes(recipe, ["depth=1,2", "width=8,16"], is_grid=False)
    with pytest.raises(UserError, match="4 were found"):
        space.points(few, count=5, seed=0)
    assert len(space.points(few, count=4, seed=0)) == 4


numbers = st.floats(1e-6, 1e6).map(lambda value: float(f"{value:.6g}"))
ranges = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
shares = st.floats(0, 1, exclude_max=True)


@given(ends=ranges, share=shares, is_log=st.booleans())
def test_a_value_lies_in_its_range_and_reads_back_from_its_text(
    ends: tuple[float, float], share: float, is_log: bool
) -> None:
    value = Axis(path="x", low=ends[0], high=ends[1], is_log=is_log).at(share)
    assert ends[0] <= value <= ends[1]  # type: ignore[operator]
    (text,) = space.sets({"train.x": value})
    assert space.number_of(text.partition("=")[2]) == value


@given(low=st.integers(1, 10_000), more=st.integers(1, 10_000), share=shares, is_log=st.booleans())
def test_a_whole_number_lies_in_its_range(low: int, more: int, share: float, is_log: bool) -> None:
    axis = Axis(path="x", low=float(low), high=float(low + more), is_log=is_log, is_whole=True)
    assert isinstance(axis.at(share), int)
    assert low <= axis.at(share) <= low + more
    assert (axis.at(0.0), axis.at(0.9999999999999)) == (low, low + more)


@given(count=st.integers(1, 60), more=st.integers(0, 40), seed=st.integers(0, 1000))
def test_a_longer_sweep_begins_with_the_points_of_a_shorter_one(count: int, more: int, seed: int) -> None:
    axes = [Axis(path="a", low=0.0, high=1.0), Axis(path="b", low=1.0, high=99.0, is_whole=True)]
    longer = space.points(axes, count=count + more, seed=seed)
    assert longer[:count] == space.points(axes, count=count, seed=seed)
    assert len({tuple(point.values()) for point in longer}) == count + more


@given(seed=st.integers(0, 10_000), axes=st.integers(1, 3))
def test_points_fill_the_space_more_evenly_than_chance_would(seed: int, axes: int) -> None:
    points = space.sequence([f"x{index}" for index in range(axes)], seed)
    drawn = [next(points) for _ in range(90)]
    for index, base in enumerate(space.PRIMES[:axes]):
        cells = [sum(int(point[index] * base) == cell for point in drawn) for cell in range(base)]
        assert max(cells) - min(cells) <= 2, "each of the base's parts of an axis gets as many"


def test_what_is_better_is_what_the_jobs_hold_for_better() -> None:
    from forgia_jobs.judging.scores import LOWER_IS_BETTER

    assert {name for name in METRICS if name in LOWER_IS_BETTER} == space.LOWER_IS_BETTER
