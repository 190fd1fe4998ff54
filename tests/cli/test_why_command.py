"""``forgia job why`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.store import private_directory, write_json
from forgia.testing import FakeScheduler

Command = Callable[..., Any]


@pytest.fixture
def paths(home: HomePaths) -> RunPaths:
    """A run that waits in the fake's queue."""
    paths = home.run("mill-1")
    private_directory(paths.attempt(1))
    resources = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    profile = {"name": "fake", "scheduler": "fake"}
    request = {"recipe": {"name": "mill"}, "resources": {**resources, "walltime_s": 600}, "profile": profile}
    write_json(paths.request, request)
    journal = Journal(paths)
    journal.record(State.SUBMITTING, by="submitter", attempt=1, scheduler="fake", profile="fake")
    job_id = FakeScheduler(home=home).submit(request, paths)
    journal.record(State.PENDING, by="submitter", attempt=1, job_id=job_id)
    return paths


def fail(paths: RunPaths, reason: str) -> None:
    words = {"t": "2026-11-22T10:00:00.000Z", "rank": 1, "host": "n2", "kind": "OSError", "reason": reason}
    write_json(paths.reason(1, 1), words)
    paths.stderr(1, 1).write_text(f"Traceback (most recent call last):\n{reason}\n")
    Journal(paths).record(State.FAILED, by="job", attempt=1, reason=f"rank-1: {reason}")


def test_a_failed_run_is_explained_with_rank_node_evidence_and_next_command(
    paths: RunPaths, forgia_command: Command
) -> None:
    fail(paths, "OSError: [Errno 28] No space left on device")
    outcome = forgia_command("job", "why")
    assert outcome.exit_code == 0
    first, *rest = outcome.stdout.splitlines()
    assert first == "run mill-1 (failed, job 1001): the disk is full"
    assert rest[0] == "  first to fail: rank 1 on n2 at 2026-11-22 10:00:00 UTC"
    evidence = f"OSError: [Errno 28] No space left on device  ({paths.stderr(1, 1)}:2)"
    assert rest[1] == f"  evidence: {evidence}"
    assert rest[-1] == "  next: make room, then: forgia job retry mill-1"


def test_a_program_gets_the_same_as_json(paths: RunPaths, forgia_command: Command) -> None:
    fail(paths, "OSError: [Errno 28] No space left on device")
    told = json.loads(forgia_command("job", "why", "mill", "--json").stdout)
    assert told["schema_version"] == 1
    found = told["explanation"]
    assert (found["cause"], found["rank"], found["node"]) == ("disk-full", 1, "n2")
    assert found["evidence"][0]["number"] == 2


def test_list_and_show_agree_on_a_run_whose_job_went_back_to_the_queue(
    paths: RunPaths, forgia_command: Command, home: HomePaths
) -> None:
    Journal(paths).record(State.RUNNING, by="job", attempt=1)
    FakeScheduler(home=home).requeue("1001")
    (listed,) = json.loads(forgia_command("job", "list", "--json").stdout)["runs"]
    shown = json.loads(forgia_command("job", "show", "--json").stdout)["run"]
    assert listed["state"] == shown["state"] == "pending"


def test_waiting_for_several_runs_does_not_end_with_the_first_that_failed(
    paths: RunPaths, forgia_command: Command, home: HomePaths
) -> None:
    fail(paths, "OSError: broken")
    other = home.run("other-1")
    private_directory(other.root)
    write_json(other.request, {"recipe": {"name": "other"}})
    Journal(other).record(State.FAILED, by="job", attempt=1, reason="no rows")
    outcome = forgia_command("job", "wait", "mill-1", "other-1")
    assert outcome.exit_code == 6
    assert "run mill-1 failed: rank-1: OSError: broken" in outcome.stderr
    assert "run other-1 failed: no rows" in outcome.stderr


def test_a_waiting_run_is_explained_too(paths: RunPaths, forgia_command: Command, home: HomePaths) -> None:
    FakeScheduler(home=home).describe("1001", waiting="limited", words=["squeue: 1001 PENDING, reason AssocGrpGRES"])
    outcome = forgia_command("job", "why", "last")
    assert outcome.exit_code == 0
    assert "run mill-1 (pending, job 1001): it waits since" in outcome.stdout
    assert "evidence: squeue: 1001 PENDING, reason AssocGrpGRES" in outcome.stdout
    assert "forgia job list --open" in outcome.stdout


def test_a_scheduler_that_does_not_answer_is_exit_code_5_after_what_the_files_say(
    paths: RunPaths, forgia_command: Command, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home.root))  # no squeue there
    Journal(paths).record(State.PENDING, by="submitter", attempt=2, scheduler="slurm", job_id="7")
    outcome = forgia_command("job", "why")
    assert outcome.exit_code == 5
    assert "run mill-1 (pending, attempt 2, job 7)" in outcome.stdout
    assert "did not answer" in outcome.stderr


def test_show_tells_the_cause_and_failures_point_to_why(paths: RunPaths, forgia_command: Command) -> None:
    fail(paths, "OSError: [Errno 28] No space left on device")
    shown = forgia_command("job", "show", "mill-1")
    assert "why: the disk is full" in shown.stdout
    waited = forgia_command("job", "wait", "mill-1")
    assert waited.exit_code == 6
    assert "next: forgia job why mill-1" in waited.stderr


def test_a_run_that_is_not_there_is_exit_code_3(forgia_command: Command, tmp_path: Path) -> None:
    assert forgia_command("job", "why", "nowhere").exit_code == 3
