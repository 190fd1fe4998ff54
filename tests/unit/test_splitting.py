from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.errors import UserError
from forgia.splitting import PARTS, episodes, split_by_group, split_by_time

FRACTIONS = (0.7, 0.15, 0.15)
NOTHING = np.zeros(0)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=60),
    seed=st.integers(0, 2**31),
    share=st.floats(0, 1),
)
def test_no_group_is_in_two_parts_and_no_row_is_lost(sizes: list[int], seed: int, share: float) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(seed).permutation(len(groups))
    groups = groups[order]
    weights = (np.random.default_rng(seed).random(len(groups)) < share).astype(float)
    split = split_by_group(groups, weights, fractions=FRACTIONS, seed=seed)
    parts = [split.part(name) for name in PARTS]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    assert all(len(part) for part in parts)
    found = [set(groups[part].tolist()) for part in parts]
    assert sum(len(part) for part in found) == len(set(groups.tolist()))


def test_parts_hold_comparable_shares_of_rare_failures() -> None:
    generator = np.random.default_rng(5)
    groups = np.repeat(np.arange(120), 80)
    weights = (generator.random(len(groups)) < 0.03).astype(float)
    for seed in range(20):
        split = split_by_group(groups, weights, fractions=FRACTIONS, seed=seed)
        for name, fraction in zip(PARTS, FRACTIONS, strict=True):
            assert len(split.part(name)) / len(groups) == pytest.approx(fraction, abs=0.04)
            assert weights[split.part(name)].sum() / weights.sum() == pytest.approx(fraction, abs=0.04)


def test_a_split_depends_on_its_seed_alone() -> None:
    groups, weights = np.repeat(np.arange(50), 3), np.zeros(150)
    once, again = (split_by_group(groups, weights, fractions=FRACTIONS, seed=4) for _ in range(2))
    other = split_by_group(groups, weights, fractions=FRACTIONS, seed=5)
    assert np.array_equal(once.test, again.test)
    assert not np.array_equal(once.test, other.test)


def test_two_groups_cannot_be_split_in_three() -> None:
    with pytest.raises(UserError, match=r"2 group\(s\)"):
        split_by_group(np.array([1, 1, 2]), np.zeros(3), fractions=FRACTIONS, seed=0)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=200).filter(lambda times: len(set(times)) >= 3))
def test_by_time_the_past_trains_and_the_future_tests(times: list[int]) -> None:
    moments = np.array(times)
    split = split_by_time(moments, fractions=FRACTIONS)
    assert moments[split.train].max() < moments[split.validation].min()
    assert moments[split.validation].max() < moments[split.test].min()
    assert len(split.train) + len(split.validation) + len(split.test) == len(times)


def test_each_reset_of_the_counter_begins_an_episode_of_its_machine() -> None:
    counter = np.array([1.0, 5.0, 2.0, 6.0, 0.0, np.nan, 1.0, 7.0])
    machine = np.array([0, 1, 0, 1, 0, 0, 0, 1])
    found = episodes(counter, machine)
    assert found[0] == found[2]
    assert found[4] == found[5] == found[6] != found[0]
    assert found[1] == found[3] == found[7]
    assert len(set(found.tolist())) == 3


def test_no_rows_have_no_episodes() -> None:
    assert episodes(NOTHING, NOTHING).tolist() == []
