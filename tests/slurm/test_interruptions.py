"""Preemptions, time limits and lost nodes on a real SLURM: the same tensors, and next to nothing done twice."""

from __future__ import annotations

from pathlib import Path

import lab_interruptions as interruptions
import pytest
from lab import SlurmLab, wait_for
from lab_interruptions import PAIRS, interrupt, provoke, settle, submit

from forgia.client import Client
from forgia.run import Journal, State

STEPS = 160
PAUSE_S = 0.2


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return interruptions.home_of(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="module")
def recipes(client: Client, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One that takes its time, and one that does not."""
    source, folder = client.catalogue.recipe("predictive-maintenance"), tmp_path_factory.mktemp("recipes")
    return [interruptions.recipe_with_pause(source, folder, pause_s=pause_s) for pause_s in (PAUSE_S, 0.0)]


@pytest.mark.slow
def test_interrupted_runs_learn_what_one_left_alone_does_and_lose_next_to_nothing(
    client: Client, recipes: list[Path], slurm_lab: SlurmLab
) -> None:
    late, early = (submit(client, recipes[0], steps=STEPS, nodes=pair) for pair in PAIRS)
    interruptions.await_progress(late, 1)
    near_its_end = provoke(slurm_lab, late, "time_limit")
    interruptions.await_progress(early, 1)
    outcomes = [interrupt(slurm_lab, early, kind) for kind in ("preemption", "node_failure")]
    with interruptions.without_user_signal(slurm_lab):
        outcomes.append(interrupt(slurm_lab, early, "preemption"))
    outcomes.append(settle(near_its_end))
    assert all(outcome.is_as_promised for outcome in outcomes), outcomes
    alone = interruptions.tensors(client, submit(client, recipes[1], steps=STEPS, nodes=None))
    assert [interruptions.tensors(client, paths) for paths in (late, early)] == [alone, alone]
    assert State.FAILED not in [line["event"] for paths in (late, early) for line in Journal(paths).read()]


@pytest.mark.slow
def test_a_budget_of_none_ends_the_run_with_a_sentence_and_the_job_with_its_code(
    client: Client, recipes: list[Path], slurm_lab: SlurmLab
) -> None:
    paths = submit(client, recipes[0], steps=STEPS, nodes=PAIRS[0], sets=("resources.attempts.preemption=0",))
    interruptions.await_progress(paths, 1)
    provoke(slurm_lab, paths, "preemption")
    wait_for(lambda: Journal(paths).status().state.is_final, 120, "the end of the run")
    status = Journal(paths).status()
    assert status.state is State.FAILED
    assert "attempt 1 was preempted, which resources.attempts.preemption lets happen never" in status.reason
    assert f"forgia job retry {paths.root.name}" in status.reason
    account = ("sacct", "-X", "-n", "-P", "-j", str(status.job_id), "--format=State,ExitCode")
    wait_for(lambda: slurm_lab.run(*account).split() == ["FAILED|1:0"], 30, "the accounting")
