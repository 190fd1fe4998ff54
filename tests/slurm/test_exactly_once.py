"""Exactly once on a real SLURM: killed clients, lost answers, dead controllers; nothing lost and nothing doubled."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab
from lab_faults import forgetful, frozen, without_accounting, without_controller
from submitting_client import GAVE_UP, PROGRAM, make_plan

from forgia import status, submission
from forgia.errors import ClusterError
from forgia.paths import HomePaths
from forgia.run import NOBODY, Journal, RunStatus, State, holder_of
from forgia.schedulers import executors, slurm
from forgia.schedulers.protocol import JobState
from forgia.schedulers.slurm import SlurmScheduler

SUBMISSIONS = max(40, int(os.environ.get("FORGIA_SUBMISSIONS", "0")))
"""How many runs the killed clients submit; the variable may raise it. Read before tests hide such variables."""
ENDS = [*["call"] * 9, *["delay"] * 4, *["answered"] * 3, *["timeout"] * 2, "frozen", "late"]
"""How clients end, in the proportions in which they do."""
LAST_CALL = 80
"""A submission makes about so many of the counted calls."""
DRAIN = ("state=drain", "reason=test")
NODE_PROGRAM = """
import os, time
from pathlib import Path
from forgia.paths import RunPaths
from forgia.run import Journal, State

def main(run_dir):
    paths = RunPaths(Path(run_dir))
    home, attempt, job_id = paths.root.parent.parent, int(os.environ["FORGIA_ATTEMPT"]), os.environ["SLURM_JOB_ID"]
    journal = Journal(paths)
    journal.record(State.RUNNING, by="job", attempt=attempt, job_id=job_id)
    descriptor = os.open(home / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{paths.root.name} {attempt} {job_id}\\n".encode())
    while (home / "hold").exists():
        time.sleep(0.05)
    journal.record(State.SUCCEEDED, by="job", attempt=attempt)
"""


@dataclass
class Place:
    """One home, and what submits to it."""

    home: HomePaths
    root: Path
    lab: SlurmLab

    def schedulers(self, _name: str) -> SlurmScheduler:
        return SlurmScheduler({}, home=self.home, program=PROGRAM)

    def start(self, seed: int = 0) -> submission.Started:
        return submission.start(self.home, make_plan(self.root, seed=seed), self.schedulers)

    def asked_again(self) -> submission.Started | None:
        """None where the answer is that the same request is still on its way: try again in a minute."""
        try:
            return self.start()
        except ClusterError as error:
            assert error.transient, error
            return None

    def overview(self) -> status.Overview:
        return status.overview(self.home, self.schedulers)

    def hold(self) -> None:
        """Jobs that have begun wait until they are let go."""
        (self.home.root / "hold").touch()

    def let_go(self) -> None:
        (self.home.root / "hold").unlink()

    def ran(self) -> list[list[str]]:
        """Run, attempt and job of every node program that began."""
        file = self.home.root / "ran"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def state(self, run_id: str) -> RunStatus:
        return Journal(self.home.run(run_id)).status()

    def await_state(self, run_id: str, wanted: State) -> RunStatus:
        return until(lambda: (found := self.state(run_id)).state is wanted and found)


@pytest.fixture
def place(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_lab: SlurmLab) -> Place:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / f"{PROGRAM}.py").write_text(NODE_PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(programs), os.environ["PYTHONPATH"]]))
    home.root.mkdir()
    return Place(home, tmp_path, slurm_lab)


def until(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture
def clients(place: Place) -> Iterator[Callable[..., int]]:
    """Run one client to its end, whatever that is, and return its exit code."""
    argv = [sys.executable, str(Path(__file__).parent / "submitting_client.py")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout

        def run(seed: int, end: str, **options: float) -> int:
            order = {"home": str(place.home.root), "root": str(place.root), "seed": seed, "end": end, **options}
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


def submit_and_die(place: Place, clients: Callable[..., int], *, seed: int, end: str, chance: random.Random) -> int:
    """One client's life."""
    if end == "call":
        return clients(seed, end, number=chance.randint(1, LAST_CALL))
    if end == "delay":
        return clients(seed, end, after_s=chance.uniform(0.0, 0.06))
    if end == "timeout":
        with frozen(place.lab):
            return clients(seed, end, timeout_s=chance.uniform(0.2, 0.8))
    if end == "frozen":  # its sbatch lives on and is accepted when the controller thaws
        with frozen(place.lab):
            return clients(seed, end, after_s=chance.uniform(0.1, 0.5))
    if end == "late":  # the first job is given up before it is accepted; in the end both are
        with frozen(place.lab):
            clients(seed, "none", timeout_s=0.5)
            return clients(seed, "blind", timeout_s=0.5)
    return clients(seed, end)


@pytest.mark.slow
def test_runs_whose_clients_are_killed_and_whose_answers_are_lost_run_once_each(
    place: Place, clients: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(20261122)
    ends = [ENDS[index % len(ENDS)] for index in range(SUBMISSIONS)]
    chance.shuffle(ends)
    # Given up at once, an intent is given up too early as often as can be: then two jobs meet at one run.
    monkeypatch.setattr(status, "SUBMISSION_DEADLINE", status.timedelta(0))
    began, codes = time.monotonic(), Counter[int]()
    for seed, end in enumerate(ends):
        if seed == SUBMISSIONS // 2:
            with without_controller(place.lab):
                codes[clients(seed, "none", timeout_s=0.5)] += 1
            continue
        codes[submit_and_die(place, clients, seed=seed, end=end, chance=chance)] += 1
        if chance.random() < 0.5:  # someone asks again at once, the others later
            with contextlib.suppress(ClusterError):
                place.start(seed)
    submitted = time.monotonic() - began
    assert codes[-signal.SIGKILL] > SUBMISSIONS // 3
    assert codes[GAVE_UP] > 1
    found = settle(place)
    times = Counter(run_id for run_id, _, _ in place.ran())
    assert len(found) == SUBMISSIONS
    lost = [run_id for run_id in found if times[run_id] == 0]
    doubled = [run_id for run_id in times if times[run_id] > 1]
    assert (lost, doubled, set(times) - set(found)) == ([], [], set())
    for run_id, attempt, job_id in place.ran():
        assert (found[run_id].state, found[run_id].attempt) == (State.SUCCEEDED, int(attempt))
        assert holder_of(place.home.run(run_id), int(attempt)) == job_id == found[run_id].job_id
    idle = idle_jobs(place)
    print(
        f"\n{SUBMISSIONS} submissions, clients' exit codes {dict(codes)}: {len(lost)} lost, {len(doubled)} doubled, "
        f"{len(idle)} late jobs that ended before they began, {sum(s.attempt > 1 for s in found.values())} runs with "
        f"another attempt; {submitted:.0f} s to submit, {time.monotonic() - began:.0f} s in all"
    )


def settle(place: Place) -> dict[str, RunStatus]:
    """Start every request again, as people do, until each has its end; and until the queue is empty."""
    found: dict[str, RunStatus] = {}
    open_seeds = set(range(SUBMISSIONS))
    deadline = time.monotonic() + 120 + SUBMISSIONS
    while open_seeds:
        assert time.monotonic() < deadline, [place.state(run_id) for run_id in found]
        for seed in sorted(open_seeds):
            try:
                started = place.start(seed)
            except ClusterError as error:
                assert error.transient, error
                continue
            found[started.run_id] = started.status
            if started.status.state is State.SUCCEEDED:
                open_seeds.remove(seed)
        time.sleep(0.3)  # the jobs have the same two cores
    until(lambda: not place.lab.run("squeue", "--noheader"))
    return {run_id: place.state(run_id) for run_id in found}


def idle_jobs(place: Place) -> list[str]:
    """Jobs of this home that SLURM started and that found their attempt given up or taken; all ended well."""
    argv = ("sacct", "--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State,WorkDir")
    rows = [line.split("|", 2) for line in place.lab.run(*argv, "--starttime=now-1hour").splitlines()]
    worked = {job_id for _, _, job_id in place.ran()}
    others = [row for row in rows if row[2].startswith(str(place.home.runs)) and row[0] not in worked]
    return [job_id for job_id, word, _ in others if word == "COMPLETED"]


def test_a_submission_to_a_frozen_controller_is_found_when_it_thaws(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with impatience(monkeypatch), frozen(place.lab):
        for program in ("sbatch", "squeue"):  # the second start asks what became of the first
            with pytest.raises(ClusterError, match=f"{program} did not answer") as caught:
                place.start()
            assert caught.value.transient
        (found,) = place.overview().statuses
        assert found.state is State.SUBMITTING
    run_id = found.run_id
    until(lambda: place.overview().statuses[0].job_id)
    assert place.start().run_id == run_id
    found = place.await_state(run_id, State.SUCCEEDED)
    assert place.ran() == [[run_id, "1", found.job_id]]
    assert place.start().status == found


@contextlib.contextmanager
def impatience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SLURM's commands are given a second to answer."""
    with monkeypatch.context() as patch:
        patch.setattr(executors, "SUBMIT_TIMEOUT_S", 1.0)
        patch.setattr(slurm, "QUERY_TIMEOUT_S", 1.0)
        yield


def test_while_slurm_is_silent_runs_keep_their_last_known_state(
    place: Place, monkeypatch: pytest.MonkeyPatch, forgia_command: Callable[..., Any]
) -> None:
    place.hold()
    ids = [place.start(seed).run_id for seed in range(2)]
    for run_id in ids:
        place.await_state(run_id, State.RUNNING)
    journals = [place.home.run(run_id).journal.read_bytes() for run_id in ids]
    with impatience(monkeypatch), without_controller(place.lab):
        view = place.overview()
        listed = forgia_command("job", "list")
        place.let_go()  # the jobs end while nobody keeps their accounts
        states = [found.state for found in view.statuses]
        assert (states, len(view.unanswered)) == ([State.RUNNING, State.RUNNING], 1)
        assert "slurm did not answer" in view.unanswered[0]
        assert (listed.exit_code, listed.stdout.count("running")) == (5, 2)
        assert "last known" in listed.stderr
        for run_id, before in zip(ids, journals, strict=True):
            assert place.home.run(run_id).journal.read_bytes().startswith(before)
            assert not any(line["by"] != "job" for line in Journal(place.home.run(run_id)).read()[3:])
    for run_id in ids:
        place.await_state(run_id, State.SUCCEEDED)
    assert [found.state for found in place.overview().statuses] == [State.SUCCEEDED, State.SUCCEEDED]
    assert len(place.ran()) == 2


def test_while_the_accounting_is_silent_nothing_counts_as_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "ABSENCE_DEADLINE", status.timedelta(seconds=-1))
    run_id = place.start().run_id
    place.await_state(run_id, State.SUCCEEDED)
    # A job that only the accounting could still tell of, as hours after its end.
    other = place.start(seed=1).run_id
    place.await_state(other, State.SUCCEEDED)
    forgotten = place.home.run(other)
    Journal(forgotten).record(State.PENDING, by="submitter", attempt=2, job_id="999999999")
    with without_accounting(place.lab):
        for _ in range(3):
            view = place.overview()
            assert {found.run_id: found.state for found in view.statuses}[other] is State.PENDING
            assert "sacct" in view.unanswered[0]
        with pytest.raises(ClusterError, match="sacct"):
            place.start(seed=1)
    assert place.state(other).attempt == 2
    place.overview()
    place.overview()
    assert (place.state(other).state, place.state(run_id).state) == (State.LOST, State.SUCCEEDED)


@pytest.mark.slow
def test_a_job_lost_with_its_controller_is_noticed_and_whoever_has_its_id_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = lose_a_job(place)
    job_id = place.state(run_id).job_id
    foreign = place.lab.run("sbatch", "--parsable", "--hold", "--job-name=foreign", "--wrap=true").strip()
    assert foreign == job_id, "SLURM gives the lost job's id again"
    assert place.start().status.state is State.PENDING
    assert not place.overview().unanswered
    monkeypatch.setattr(status, "ABSENCE_DEADLINE", status.timedelta(seconds=-1))
    (found,) = place.overview().statuses
    assert (found.state, found.attempt) == (State.LOST, 1)
    assert "unknown to its scheduler" in found.reason
    again = place.start()
    assert (again.run_id, again.status.attempt, again.is_new) == (run_id, 2, False)
    found = place.await_state(run_id, State.SUCCEEDED)
    assert place.ran() == [[run_id, "2", found.job_id]]
    assert place.lab.run("squeue", "--noheader", f"--jobs={foreign}", "--format=%j %T").split() == [
        "foreign",
        "PENDING",
    ]


@pytest.mark.slow
def test_an_id_given_to_another_run_cancels_and_ends_only_that_one(place: Place) -> None:
    lost = lose_a_job(place)
    place.hold()
    other = place.start(seed=1)
    assert other.status.job_id == place.state(lost).job_id
    place.await_state(other.run_id, State.RUNNING)
    status.cancel(place.home, place.schedulers, [lost])
    assert place.state(lost).state is State.CANCELLED
    place.let_go()
    place.await_state(other.run_id, State.SUCCEEDED)
    assert [row[0] for row in place.ran()] == [other.run_id]


def lose_a_job(place: Place) -> str:
    """Submit to nodes that take nothing, and kill a controller that had no time to save it. The run's id."""
    with forgetful(place.lab):
        place.lab.run("scontrol", "update", f"nodename={','.join(place.lab.layout.node_names)}", *DRAIN)
        started = place.start()
        assert started.status.job_id
    assert started.status.job_id not in place.lab.run("squeue", "--noheader", "--states=all", "--format=%i")
    return started.run_id


def test_a_copy_of_a_job_ends_at_once_and_the_run_goes_on(place: Place) -> None:
    place.hold()
    started = place.start()
    paths = place.home.run(started.run_id)
    until(place.ran)
    copies = [place.lab.run("sbatch", "--parsable", str(paths.submission / "job-1.sh")).strip() for _ in range(2)]
    for job_id in copies:
        view = until(lambda job_id=job_id: ended(place, job_id))
        assert (view.word, view.exit_code) == ("COMPLETED", 0)
    assert place.state(started.run_id).state is State.RUNNING
    log = (paths.attempt(1) / "batch.log").read_text()
    assert [f"attempt 1 is with job-{started.status.job_id}.0, so job-{job_id}.0" in log for job_id in copies] == [
        True,
        True,
    ]
    place.let_go()
    place.await_state(started.run_id, State.SUCCEEDED)
    assert place.ran() == [[started.run_id, "1", started.status.job_id]]


def ended(place: Place, job_id: str) -> Any:
    view = place.schedulers("slurm").states([job_id])[job_id]
    return view if view.state is JobState.ENDED and view.exit_code is not None else None


def test_of_two_jobs_of_an_attempt_the_one_that_began_is_the_runs(place: Place) -> None:
    place.hold()
    started = place.start()
    paths = place.home.run(started.run_id)
    until(place.ran)
    copy = place.lab.run("sbatch", "--parsable", str(paths.submission / "job-1.sh")).strip()
    until(lambda: ended(place, copy))
    # As if the client had died before it had the first id, and had found the copy.
    Journal(paths).record(State.PENDING, by="submitter", attempt=1, job_id=copy)
    assert place.start().status.state is State.RUNNING
    assert place.state(started.run_id).job_id == started.status.job_id
    place.let_go()
    place.await_state(started.run_id, State.SUCCEEDED)
    assert len(place.ran()) == 1


@pytest.mark.slow
def test_a_job_that_slurm_sends_back_to_the_queue_has_an_attempt_of_its_own(place: Place) -> None:
    place.hold()
    started = place.start()
    until(place.ran)
    place.lab.run("scontrol", "requeue", str(started.status.job_id))
    until(lambda: len(place.ran()) == 2)
    place.let_go()
    found = place.await_state(started.run_id, State.SUCCEEDED)
    assert place.ran() == [[started.run_id, number, found.job_id] for number in ("1", "2")]


def test_an_attempt_that_was_given_up_never_begins_though_its_job_comes_late(
    place: Place, clients: Callable[..., int]
) -> None:
    with frozen(place.lab):
        assert clients(0, "none", timeout_s=0.5) == GAVE_UP
        assert (
            clients(0, "blind", timeout_s=0.5) == GAVE_UP
        )  # gives the first up, and sends a second that times out too
    until(lambda: (again := place.asked_again()) and again.status.state is State.SUCCEEDED)
    until(lambda: not place.lab.run("squeue", "--noheader"))
    (found,) = place.overview().statuses
    assert place.ran() == [[found.run_id, "2", found.job_id]]
    paths = place.home.run(found.run_id)
    assert [holder_of(paths, 1), holder_of(paths, 2)] == [NOBODY, found.job_id]
    assert f"attempt 1 is with {NOBODY}" in (paths.attempt(1) / "batch.log").read_text()
