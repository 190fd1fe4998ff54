"""Work that is longer than a queue allows at a time, planned as a chain of attempts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import fit, profile
from forgia.profile import Profile, Queue
from forgia.recipe import Attempts, Recipe, Resources

LEONARDO = profile.load(Path(__file__).parents[2] / "cluster-profiles" / "leonardo-booster.yaml")
DAY = 86400


def recipe(walltime_s: int, **attempts: int) -> Recipe:
    wanted = Resources.model_construct(
        nodes=1, gpus_per_node=1, tasks_per_node=1, cpus_per_task=8, memory_gb=100.0, walltime=walltime_s,
        attempts=Attempts(**attempts),
    )  # fmt: skip
    return Recipe.model_construct(resources=wanted)


def cut(walltime_s: int, on: Profile = LEONARDO, **attempts: int) -> dict[str, Any]:
    return fit.resources_request(recipe(walltime_s, **attempts), on)


def test_three_days_in_a_queue_of_one_are_three_attempts_at_the_cost_of_three_days() -> None:
    wanted = cut(3 * DAY)
    assert (wanted["walltime_s"], wanted["walltime_total_s"]) == (DAY, 3 * DAY)
    assert wanted["attempts"] == {"time_limit": 3, "preemption": 20, "node_failure": 3}
    assert fit.cost_of(wanted, LEONARDO).gpu_h == 72
    assert [*fit.queue_misfits(wanted, LEONARDO)] == []
    (told,) = fit.chain_warnings(recipe(3 * DAY), LEONARDO)
    assert "is cut into 3 attempts" in told
    assert told.endswith("qos boost_qos_lprod (up to 3 nodes, up to 4-00:00:00) takes it at once")


def test_what_fits_is_not_cut() -> None:
    wanted = cut(DAY)
    assert (wanted["walltime_s"], wanted["walltime_total_s"], wanted["attempts"]["time_limit"]) == (DAY, DAY, 20)
    assert [*fit.chain_warnings(recipe(DAY), LEONARDO)] == []
    boundless = LEONARDO.model_copy(update={"queues": (Queue(),)})
    assert cut(30 * DAY, boundless)["walltime_s"] == 30 * DAY


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_chain_that_the_recipe_does_not_allow_is_a_misfit(allowed: int) -> None:
    wanted = cut(3 * DAY, time_limit=allowed)
    assert wanted["walltime_s"] == 3 * DAY
    assert [name for name, _ in fit.queue_misfits(wanted, LEONARDO)] == ["walltime"]
    assert cut(3 * DAY, time_limit=2)["walltime_s"] == DAY


@given(walltime_s=st.integers(1, 100 * DAY))
def test_a_chain_is_long_enough_and_no_longer_than_it_must_be(walltime_s: int) -> None:
    wanted, links = cut(walltime_s), fit.chain_length(recipe(walltime_s), LEONARDO)
    assert links * wanted["walltime_s"] >= walltime_s > (links - 1) * wanted["walltime_s"]
    assert wanted["attempts"]["time_limit"] + 1 >= links
