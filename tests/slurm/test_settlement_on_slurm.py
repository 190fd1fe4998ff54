"""Settlement against a real SLURM with slurmdbd: each charge is what AllocTRES and the clock say, to the second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_session
from lab import SlurmLab, free_port, start_mark, wait_for
from lab_metered import MeteredLab

from forgia.grant import Holder, HoldRequest, Kind, Terms
from forgia.quota import accounting, naive, reconcile
from forgia.quota.accounting import Queue, Row
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.settlement import Batch, Settlement, settle
from forgia.quota.usage import Judged, Verdict, judge

ACCOUNT = "acme"
ACME = Holder.parse("lab/acme")
RATES = {
    **{"done": 4, "broken": 2, "late@2": 2, "stopped": 3, "waited": 0, "round": 2, "victim": 32, "winner": 32},
    **{"paused": 10, "unlucky": 4, "sweep": 1, "pair": 8, "one-gpu-24-cores": 24, "half-memory": 16, "alone": 32},
    **{"somebody": 5, "shrunk": 0},
}
"""Name of a job → what SLURM has to bill for each second of it; 0: never started, or not of one rate."""
SUSPENDED_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the cluster told, while jobs ran and after all had ended."""

    midway: list[Row]
    midway_queue: Queue
    rows: list[Row]
    queue: Queue
    later: list[Row]
    """The same after everything was put back in time, as far as sreport sees."""
    sreport: str


class Jobs:
    """The jobs of these tests, by their names."""

    def __init__(self, lab: MeteredLab) -> None:
        self.lab, self.ids = lab, {}

    def submit(self, name: str, *flags: str, seconds: int | None = None, script: str = "") -> str:
        """Send a job that sleeps, or runs this line."""
        wrap = script or f"sleep {seconds}"
        argv = ["--parsable", f"--job-name={name}", "--output=/dev/null", "--mem=100M", *flags]
        if ":" in flags:  # each component of a heterogeneous job has flags of its own
            argv = ["--parsable", f"--job-name={name}", "--output=/dev/null", *flags]
        self.ids[name] = self.lab.run("sbatch", *argv, f"--wrap={wrap}").strip()
        return self.ids[name]

    def state(self, name: str) -> str:
        """The controller's word for a job."""
        return self.lab.run("squeue", "--noheader", "--states=all", f"--jobs={self.ids[name]}", "--format=%T").strip()

    def ran(self, name: str, seconds: int) -> bool:
        """It runs, and has for so long."""
        text = self.lab.run("squeue", "--noheader", f"--jobs={self.ids[name]}", "--states=RUNNING", "--format=%M")
        return text.strip() >= f"0:{seconds:02}"

    def wait(self, name: str, state: str, timeout_s: float = 60) -> None:
        """Until the controller calls it so."""
        wait_for(lambda: self.state(name).split("\n")[0] == state, timeout_s, f"{name} to be {state}")


@pytest.fixture(scope="module")
def lab(slurm_lab: SlurmLab) -> Iterator[MeteredLab]:
    """A lab of its own beside the session's: with other prices, and records that are moved in time."""
    root = Path(tempfile.mkdtemp(prefix=lab_session.PREFIX, dir=lab_session.FOLDER))
    (root / "owner.json").write_text(json.dumps([os.getpid(), start_mark(os.getpid())]))
    lab = MeteredLab(root, port=free_port(4), prefix=slurm_lab.prefix)
    lab.start()
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def recorded(lab: MeteredLab) -> Iterator[Recorded]:
    """All jobs side by side, from their submission to the end of the last."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in lab.exports().items():
            patch.setenv(key, value)
        jobs = Jobs(lab)
        start(jobs)
        midway, midway_queue = look()
        finish(jobs)
        wait_for(lambda: all(row["End"] != "Unknown" for row in look()[0]), 60, "the accounting of the last job")
        rows, queue = look()
        lab.put_back(hours=2)
        later, _ = look()
        report = lab.run(
            *("sreport", "-P", "-t", "Seconds", "cluster", "AccountUtilizationByUser", "-T", "billing"),
            *("start=now-4hours", "end=now"),
        )
        yield Recorded(midway=midway, midway_queue=midway_queue, rows=rows, queue=queue, later=later, sreport=report)


def look() -> tuple[list[Row], Queue]:
    """The accounting, then the queue."""
    since = datetime.now(UTC) - timedelta(days=7)
    rows = list(accounting.ask([ACCOUNT], since=since, cluster="lab"))
    assert all(isinstance(row, Row) for row in rows)
    return [row for row in rows if isinstance(row, Row)], accounting.queued([ACCOUNT], cluster="lab")


def start(jobs: Jobs) -> None:
    """Submit all; returns when the first of them have ended and others run, wait, or are suspended."""
    jobs.submit("round", "--cpus-per-task=2", "--nodelist=n2", "--requeue", seconds=300)
    jobs.submit("victim", "--cpus-per-task=32", "--nodelist=n1", "--partition=low", "--requeue", seconds=20)
    jobs.submit("unlucky", "--cpus-per-task=4", "--nodelist=n4", "--requeue", seconds=8)
    jobs.submit("paused", "--cpus-per-task=10", "--nodelist=n2", seconds=15)
    jobs.submit("late@2", "--cpus-per-task=2", "--nodelist=n2", "--time=5", seconds=300)
    jobs.submit("shrunk", "--nodes=2", "--ntasks=2", "--nodelist=n2,n3", seconds=12)
    jobs.submit("done", "--cpus-per-task=4", seconds=3)
    jobs.submit("broken", "--cpus-per-task=2", script="sleep 1; exit 3")
    jobs.submit("stopped", "--cpus-per-task=3", seconds=300)
    jobs.submit("somebody", "--cpus-per-task=5", seconds=2)
    jobs.submit("sweep", "--array=0-9%1", seconds=12)
    jobs.submit("pair", "--cpus-per-task=3", "--mem=100M", ":", "--gres=gpu:1", "--mem=100M", seconds=4)
    jobs.submit("one-gpu-24-cores", "--cpus-per-task=24", "--gres=gpu:1", "--nodelist=n3", seconds=4)
    jobs.submit("half-memory", "--cpus-per-task=1", "--mem=247000M", "--nodelist=n3", seconds=4)
    for name in ("round", "victim", "unlucky", "paused", "late@2", "stopped", "shrunk"):
        jobs.wait(name, "RUNNING")
    jobs.submit("waited", "--nodes=4", "--exclusive", seconds=300)
    jobs.submit("winner", "--cpus-per-task=32", "--nodelist=n1", seconds=3)
    control(jobs, "suspend", jobs.ids["paused"])
    assert jobs.state("paused") == "SUSPENDED"
    control(jobs, "update", f"jobid={jobs.ids['late@2']}", "EndTime=now+5")
    control(jobs, "update", f"jobid={jobs.ids['shrunk']}", "NumNodes=1")
    control(jobs, "update", "nodename=n4", "state=down", "reason=power")
    jobs.wait("done", "COMPLETED")
    jobs.lab.run("scancel", jobs.ids["stopped"], jobs.ids["waited"])
    jobs.wait("stopped", "CANCELLED")


def finish(jobs: Jobs) -> None:
    """Send one round four times, wake the suspended one after its time, and wait for the rest."""
    slept = datetime.now(UTC)
    jobs.submit("alone", "--exclusive", "--nodelist=n3", seconds=3)
    for _ in range(4):
        wait_for(lambda: jobs.ran("round", 2), 30, "round to run")
        control(jobs, "requeue", jobs.ids["round"])
        wait_for(lambda: jobs.state("round") != "RUNNING", 20, "the requeue")
        if jobs.state("paused") == "SUSPENDED" and datetime.now(UTC) - slept > timedelta(seconds=SUSPENDED_S):
            control(jobs, "resume", jobs.ids["paused"])
    wait_for(lambda: jobs.ran("round", 2), 30, "round to run")
    jobs.lab.run("scancel", jobs.ids["round"], jobs.ids["sweep"])
    wait_for(lambda: not jobs.lab.run("squeue", "--noheader").strip(), 90, "the last job to end")


def control(jobs: Jobs, *words: str) -> None:
    """Change something of a job or a node."""
    subprocess.run(["scontrol", *words], check=True, env=jobs.lab.environment(), timeout=60, capture_output=True)


def by_name(rows: list[Row], name: str) -> list[Judged]:
    return [judge(row, now=datetime.now(UTC)) for row in rows if row["JobName"] == name]


def held_s(row: Row) -> int:
    """By the clock alone."""
    return int(row["End"]) - int(row["Start"]) if row["Start"].isdecimal() else 0


def test_every_charge_is_the_rate_that_was_due_times_the_seconds_on_the_clock(recorded: Recorded) -> None:
    for row in recorded.rows:
        usage = judge(row, now=datetime.now(UTC)).usage
        due = RATES[row["JobName"]]
        if row["JobName"] == "pair":  # one GPU bills 8, three cores 3
            due = 8 if "gres/gpu" in row["AllocTRES"] else 3
        if row["JobName"] == "shrunk":
            due = 2 if row["State"] == "RESIZING" else 1
        assert usage.billing_s == due * held_s(row), row.raw
    assert {row["JobName"] for row in recorded.rows} == set(RATES)


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("done", ["COMPLETED"]),
        ("broken", ["FAILED"]),
        ("late@2", ["TIMEOUT"]),
        ("stopped", ["CANCELLED"]),
        ("waited", ["CANCELLED"]),
        ("round", ["REQUEUED"] * 4 + ["CANCELLED"]),
        ("victim", ["PREEMPTED", "COMPLETED"]),
        ("unlucky", ["NODE_FAIL", "COMPLETED"]),
        ("paused", ["COMPLETED"]),
        ("pair", ["COMPLETED", "COMPLETED"]),
        ("shrunk", ["RESIZING", "COMPLETED"]),
    ],
)
def test_slurm_tells_every_attempt_by_the_state_that_it_ended_in(
    recorded: Recorded, name: str, states: list[str]
) -> None:
    found = sorted(by_name(recorded.rows, name), key=lambda item: (item.submitted, item.usage.start or item.usage.end))
    assert [item.usage.state for item in found] == states
    assert all(item.verdict is Verdict.FINAL for item in found)


def test_the_time_in_which_a_job_was_suspended_is_charged(recorded: Recorded) -> None:
    (row,) = (row for row in recorded.rows if row["JobName"] == "paused")
    assert row["Suspended"] >= f"00:00:{SUSPENDED_S}"
    (found,) = by_name(recorded.rows, "paused")
    assert found.usage.seconds == held_s(row) >= SUSPENDED_S + int(row["ElapsedRaw"])


def test_what_a_failed_node_cost_can_be_given_back_and_nothing_else(recorded: Recorded) -> None:
    refunds = {row["JobName"]: judge(row, now=datetime.now(UTC)).usage.refund_s for row in recorded.rows}
    first = min(by_name(recorded.rows, "unlucky"), key=lambda item: item.submitted)
    assert first.usage.refund_s == first.usage.billing_s
    assert not any(amount for name, amount in refunds.items() if name != "unlucky")


def test_a_job_that_gets_more_than_it_asked_for_pays_for_what_it_got(recorded: Recorded) -> None:
    (row,) = (row for row in recorded.rows if row["JobName"] == "alone")
    assert ("billing=32" in row["AllocTRES"], "billing=1," in row["ReqTRES"]) == (True, True)


def test_ours_is_what_slurmdbd_itself_rolls_up_and_the_naive_rules_are_not(recorded: Recorded) -> None:
    (count,) = reconcile.parse_sreport(recorded.sreport)
    site = int(count.used_h * 3600)
    rows, now = recorded.later, datetime.now(UTC)
    print("\n".join(["", *naive.table(rows, now=now, slurmdbd=site)]))
    found = naive.charges(rows, now=now)
    assert found.pop(naive.OURS) == site
    assert all(amount < site for amount in found.values())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


def settled(ledger: Ledger, recorded: Recorded, *, midway: bool) -> Settlement:
    batch = Batch(
        rows=recorded.midway if midway else recorded.rows,
        queue=recorded.midway_queue if midway else recorded.queue,
    )
    return settle(ledger, batch, by=ledger.actor_of(), now=datetime.now(UTC))


def hold_all(ledger: Ledger) -> None:
    """A grant, and a hold for each job but one that is nobody's."""
    me, now = ledger.actor_of(), datetime.now(UTC)
    terms = Terms(holder=ACME, amount=10**9, valid_from=now - timedelta(days=1), valid_until=now + timedelta(days=30))
    ledger.grant(terms, by=me, reason="a test")
    for name in RATES.keys() - {"somebody"}:
        run, _, attempt = name.partition("@")
        request = HoldRequest(
            key=f"{run}@{attempt or 1}", run_id=run, holder=ACME, resource="cpu", rate=64, walltime_s=3600
        )
        ledger.hold(request, by=me)


def test_holds_pay_for_all_attempts_and_end_with_their_jobs(recorded: Recorded, ledger: Ledger) -> None:
    hold_all(ledger)
    me = ledger.actor_of()
    first = settled(ledger, recorded, midway=True)
    assert {usage.name for usage in first.running} >= {"round", "paused", "sweep"}
    still = {hold.key for hold in ledger.holds(by=me)}
    assert {"round@1", "paused@1", "sweep@1", "victim@1", "unlucky@1"} <= still
    assert "done@1" not in still
    second = settled(ledger, recorded, midway=False)
    assert not second.running
    assert not second.quarantined
    assert first.posted + second.posted == len(recorded.rows)
    left = {hold.key for hold in ledger.holds(by=me)}
    assert left <= {"sweep@1"}
    for name in RATES.keys() - {"somebody"}:
        run, _, attempt = name.partition("@")
        hold = ledger.find_hold(f"{run}@{attempt or 1}", by=me)
        attempts = [item.usage for item in by_name(recorded.rows, name)]
        assert hold
        assert hold.charged == sum(usage.billing_s - usage.refund_s for usage in attempts), name
    assert not ledger.verify()


def test_settled_twice_and_the_other_way_round_the_ledger_is_the_same(recorded: Recorded, tmp_path: Path) -> None:
    totals = []
    for order in ([True, False], [False, True, True, False]):
        with open_ledger(tmp_path / f"{len(order)}.db") as ledger:
            hold_all(ledger)
            for midway in order:
                settled(ledger, recorded, midway=midway)
            me = ledger.actor_of()
            entries = list(ledger.entries(by=me, kinds=(Kind.CHARGE, Kind.REFUND)))
            totals.append(
                (
                    sorted((entry.key, entry.total("spent")) for entry in entries),
                    ledger.balance(ACME, by=me),
                )
            )
            assert not ledger.verify()
    assert totals[0] == totals[1]


def test_a_job_that_is_nobodys_goes_to_the_bucket_of_such_jobs(recorded: Recorded, ledger: Ledger) -> None:
    hold_all(ledger)
    result = settled(ledger, recorded, midway=False)
    (stray,) = by_name(recorded.rows, "somebody")
    assert (result.unmanaged, result.unmanaged_charged) == (1, stray.usage.billing_s)
