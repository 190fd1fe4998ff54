"""``forgia quota sync`` against a real SLURM: it refuses, holds, pauses and lets in again by what the ledger says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import SlurmLab, wait_for

from forgia.grant import Holder
from forgia.paths import HomePaths
from forgia.quota import accounting
from forgia.quota.accounting import Row
from forgia.quota.ledger import open_ledger
from forgia.quota.limits import limits_of
from forgia.quota.settlement import Batch, settle

ACME = Holder.parse("lab/acme")
WHY = ("--reason", "trial")
MINUTES = 20
SYNC = ("quota", "sync", "lab", "--account", "acme")
SHOWN = (
    ("sacctmgr", "-nP", "show", "qos", "format=Name,Flags,GrpTRESMins,GrpTRES,GrpJobs,GrpSubmitJobs"),
    ("sacctmgr", "-nP", "show", "assoc", "format=Cluster,Account,User,QOS"),
)


class Operator:
    """Somebody with a ledger, and a user with jobs."""

    def __init__(self, lab: SlurmLab, command: Callable[..., Any]) -> None:
        self.lab, self.command = lab, command

    def forgia(self, *arguments: str) -> str:
        """A command that must work; what it printed."""
        done = self.command(*arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def changes(self) -> list[str]:
        """What a plan would do now."""
        return [change["sentence"] for change in json.loads(self.forgia(*SYNC, "--json"))["changes"]]

    def submit(self, *flags: str, seconds: int = 60, qos: str = "fg_acme") -> tuple[str, str]:
        """The job's id, or why it was refused."""
        argv = ["sbatch", "--parsable", f"--qos={qos}", "--mem=100M", "--output=/dev/null", *flags]
        argv.append(f"--wrap=sleep {seconds}")
        done = subprocess.run(argv, capture_output=True, text=True, env=self.lab.environment(), check=False)
        return done.stdout.strip(), done.stderr

    def state(self, job_id: str) -> str:
        """The controller's words for a job: state and reason."""
        return self.lab.run("squeue", "--noheader", f"--jobs={job_id}", "--states=all", "--format=%T %r").strip()


@pytest.fixture
def operator(slurm_lab: SlurmLab, forgia_command: Callable[..., Any]) -> Iterator[Operator]:
    """A firm with a budget of some billing-minutes, GPUs capped; the lab is as before when the test is over."""
    before = [slurm_lab.run(*argv) for argv in SHOWN]
    found = Operator(slurm_lab, forgia_command)
    found.forgia("quota", "init")
    found.forgia("quota", "grant", "lab/acme", "--billing-s", str(MINUTES * 60), "--months", "1", *WHY)
    found.forgia("quota", "ceiling", "lab/acme", "gpus=2", *WHY)
    found.forgia(*SYNC, "--apply")
    yield found
    slurm_lab.cancel_all()
    for name in re.findall(r"^fg_\w+", slurm_lab.run(*SHOWN[0]), re.MULTILINE):
        slurm_lab.run("sacctmgr", "--immediate", "delete", "qos", name)
    assert [slurm_lab.run(*argv) for argv in SHOWN] == before


def test_slurm_itself_refuses_what_the_ledger_does_not_have_and_a_second_apply_changes_nothing(
    operator: Operator,
) -> None:
    shown = [operator.lab.run(*argv) for argv in SHOWN]
    made = limits_of(shown[0])["fg_acme"]
    assert (made.minutes, made.gpus, made.jobs, made.submitted) == (MINUTES, 2, None, None)
    assert made.flags == {"DenyOnLimit", "NoDecay"}
    assert "nothing to change" in operator.forgia(*SYNC, "--apply")
    assert [operator.lab.run(*argv) for argv in SHOWN] == shown

    _, refused = operator.submit(f"--time={MINUTES + 1}")
    assert "QOSGrpBillingMinutes" in refused
    _, refused = operator.submit("--time=1", "--gres=gpu:3")
    assert "QOSGrpGRES" in refused
    first, _ = operator.submit(f"--time={MINUTES - 5}")
    wait_for(lambda: operator.state(first).startswith("RUNNING"), 20, "the job that the budget bears")
    second, _ = operator.submit(f"--time={MINUTES - 5}")
    wait_for(lambda: "QOSGrpBillingMinutes" in operator.state(second), 20, "the job that it does not bear beside it")


def test_a_pause_refuses_new_jobs_and_lets_running_ones_live_until_it_is_lifted(operator: Operator) -> None:
    running, _ = operator.submit("--time=5")
    wait_for(lambda: operator.state(running).startswith("RUNNING"), 20, "a job to run")
    waiting, _ = operator.submit("--time=5", "--begin=now+1hour")
    operator.forgia("quota", "freeze", "2", *WHY)
    told = operator.forgia(*SYNC, "--apply")
    assert "paused, frozen: new jobs are refused; jobs that run keep running" in told
    assert limits_of(operator.lab.run(*SHOWN[0]))["fg_acme"].submitted == 0
    _, refused = operator.submit("--time=1")
    assert "QOSGrpSubmitJobsLimit" in refused
    assert operator.submit("--time=1", qos="normal")[0], "others are not concerned"
    assert operator.state(running).startswith("RUNNING")
    assert operator.state(waiting).startswith("PENDING")
    assert operator.changes() == []

    operator.forgia("quota", "unfreeze", "2", *WHY)
    operator.forgia(*SYNC, "--apply")
    again, _ = operator.submit("--time=1")
    wait_for(lambda: operator.state(again).startswith("RUNNING"), 20, "a job after the pause")


def test_what_ran_and_was_charged_neither_comes_back_nor_is_taken_twice(operator: Operator, home: HomePaths) -> None:
    jobs = [operator.submit("--time=1", "--cpus-per-task=8", seconds=9, qos=qos)[0] for qos in ("fg_acme", "normal")]
    wait_for(lambda: all(operator.state(one).startswith("COMPLETED") for one in jobs), 60, "both jobs to end")
    wait_for(lambda: all(row["End"].isdecimal() for row in rows_of(jobs)), 30, "the accounting of both")
    with open_ledger(home.ledger) as ledger:
        settle(ledger, Batch(rows=rows_of(jobs)), by=ledger.actor_of(), now=datetime.now(UTC), owners={"acme": ACME})
    cost, other = (8 * int(row["ElapsedRaw"]) for row in rows_of(jobs))
    planned = json.loads(operator.forgia(*SYNC, "--json"))
    (found,) = planned["limits"]
    assert found["free"] == MINUTES * 60 - cost - other
    # SLURM counts the one that ran under the QOS, in whole minutes; what the other one cost is gone from the limit.
    assert found["counted"] == cost // 60 * 60 > 0
    assert found["limits"]["minutes"] == (found["counted"] + found["free"]) // 60 < MINUTES
    operator.forgia(*SYNC, "--apply")
    assert operator.changes() == []
    fits, _ = operator.submit(f"--time={found['free'] // 60}")
    wait_for(lambda: operator.state(fits).startswith("RUNNING"), 20, "a job of all that is left")


def rows_of(jobs: list[str]) -> list[Row]:
    """The accounting of these jobs, in their order; a lab's other tests run jobs on the same account."""
    since = datetime.now(UTC) - timedelta(hours=1)
    found = {row["JobIDRaw"]: row for row in accounting.ask(["acme"], since=since) if isinstance(row, Row)}
    return [found[one] for one in jobs]
