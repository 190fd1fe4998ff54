"""How SLURM's words are read: recorded answers of 22.05.8, by programs on the path that print them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgia.errors import ClusterError, NotFound, Refused
from forgia.paths import HomePaths
from forgia.schedulers import JobState, JobView, open_scheduler, slurm_words
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory

SQUEUE = """\
101|PENDING|Priority|mill-1|{runs}/mill-1
102|RUNNING|None|mill-2|{runs}/mill-2
103|COMPLETING|None|mill-3|{runs}/mill-3
104|COMPLETED|None|mill-4|{runs}/mill-4
105|TIMEOUT|TimeLimit|mill-5@2|{runs}/mill-5
106|RUNNING|None|a|b|/other
107|HOVERING|None|mill-7|{runs}/mill-7
112|RUNNING|None|mill-12|/another/home/runs/mill-12
116|CANCELLED|BeginTime|mill-16|{runs}/mill-16
"""
SACCT = """\
104|COMPLETED|0:0|2026-11-22T10:00:00|mill-4|{runs}/mill-4
108|NODE_FAIL|0:0|2026-11-22T10:00:00|mill-8|{runs}/mill-8
108|FAILED|3:0|2026-11-22T11:00:00|mill-8|{runs}/mill-8
109|CANCELLED by 1000|0:15|2026-11-22T10:00:00|mill-9|{runs}/mill-9
110|REQUEUED|0:0|2026-11-22T10:00:00|mill-10|{runs}/mill-10
111|RUNNING|0:0|2026-11-22T10:00:00|mill-11|{runs}/mill-11
113|FAILED|1:0|2026-11-22T10:00:00|mill-12|/another/home/runs/mill-12
114|REQUEUED|0:0|2026-11-22T10:00:00|mill-14@2|{runs}/mill-14
114|CANCELLED by 1000|0:0|2026-11-22T10:00:02|allocation|
115|FAILED|1:0|2026-11-22T10:00:00|mill-15|{runs}/mill-15
115|REQUEUED|0:0|2026-11-22T11:00:00|other|/another/home/runs/other
115|CANCELLED by 1000|0:0|2026-11-22T11:00:02|allocation|
"""


@pytest.fixture
def programs(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    answer(folder, "squeue", stdout=SQUEUE.format(runs=home.runs))
    answer(folder, "sacct", stdout=SACCT.format(runs=home.runs))
    return folder


def answer(folder: Path, name: str, *, stdout: str = "", stderr: str = "", code: int = 0) -> None:
    """Make a program that says this."""
    (folder / f"{name}.out").write_text(stdout)
    (folder / f"{name}.err").write_text(stderr)
    script = f'#!/bin/sh\ncat "{folder}/{name}.out"\ncat "{folder}/{name}.err" >&2\nexit {code}\n'
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


@pytest.fixture
def scheduler(home: HomePaths, programs: Path) -> SlurmScheduler:
    return SlurmScheduler({}, home=home)


def state_of(scheduler: SlurmScheduler, job_id: str) -> JobView:
    return scheduler.states([job_id])[job_id]


def test_the_queue_decides_what_lives(scheduler: SlurmScheduler) -> None:
    states = {job_id: state_of(scheduler, job_id).state for job_id in ("101", "102", "103", "104", "105")}
    assert list(states.values()) == [
        JobState.PENDING,
        *(JobState.RUNNING, JobState.RUNNING),
        *(JobState.ENDED, JobState.ENDED),
    ]


def test_an_id_that_was_given_to_a_job_of_another_name_or_folder_tells_nothing(scheduler: SlurmScheduler) -> None:
    views = scheduler.states(["101", "105", "106", "109", "112", "113"])
    assert {job_id: view.run_id for job_id, view in views.items() if view.run_id} == {
        "101": "mill-1",
        "105": "mill-5",
        "109": "mill-9",
    }
    assert {views[job_id].state for job_id in ("106", "112", "113")} == {JobState.UNKNOWN}


def test_a_word_we_do_not_know_is_no_end(scheduler: SlurmScheduler) -> None:
    assert state_of(scheduler, "107").state is JobState.UNKNOWN


def test_the_last_attempt_in_the_accounting_counts(scheduler: SlurmScheduler) -> None:
    view = state_of(scheduler, "108")
    assert (view.state, view.word, view.exit_code) == (JobState.ENDED, "FAILED", 3)


def test_a_cancelled_job_was_ended_by_a_signal(scheduler: SlurmScheduler) -> None:
    view = state_of(scheduler, "109")
    assert (view.word, view.exit_code, view.signal, view.reason) == ("CANCELLED by 1000", None, 15, "it was cancelled")


def test_a_job_cancelled_while_it_waited_for_its_second_start_has_ended(scheduler: SlurmScheduler) -> None:
    view = state_of(scheduler, "114")
    assert (view.state, view.reason, view.run_id) == (JobState.ENDED, "it was cancelled", "mill-14")


def test_what_a_cancelled_job_waited_for_is_not_why_it_ended(scheduler: SlurmScheduler) -> None:
    assert state_of(scheduler, "116").reason == "it was cancelled"


def test_a_nameless_row_behind_another_homes_job_tells_nothing_of_ours(scheduler: SlurmScheduler) -> None:
    assert state_of(scheduler, "115").word == "FAILED"


def test_the_accounting_alone_never_says_that_a_job_runs(scheduler: SlurmScheduler) -> None:
    assert {state_of(scheduler, job_id).state for job_id in ("110", "111")} == {JobState.UNKNOWN}


def test_a_silent_accounting_makes_jobs_unknown_and_keeps_what_the_queue_said(
    scheduler: SlurmScheduler, programs: Path
) -> None:
    answer(programs, "sacct", stderr="sacct: error: Problem talking to the database: Connection refused", code=1)
    views = scheduler.states(["102", "104", "108"])
    wanted = {"102": JobState.RUNNING, "104": JobState.ENDED, "108": JobState.UNKNOWN}
    assert {job_id: view.state for job_id, view in views.items()} == wanted
    assert "Connection refused" in views["108"].reason


def test_nothing_is_concluded_when_a_run_cannot_be_looked_up(scheduler: SlurmScheduler, programs: Path) -> None:
    answer(programs, "sacct", stderr="sacct: error: Problem talking to the database: Connection refused", code=1)
    assert scheduler.find(["mill-1"]) == {"mill-1": "101"}
    with pytest.raises(ClusterError, match="Connection refused"):
        scheduler.find(["mill-1", "mill-99"])


def test_a_site_without_accounting_is_no_error(scheduler: SlurmScheduler, programs: Path) -> None:
    answer(programs, "sacct", stderr="Slurm accounting storage is disabled", code=1)
    assert scheduler.find(["mill-99"]) == {}
    assert state_of(scheduler, "108").state is JobState.UNKNOWN


def test_a_controller_that_does_not_answer_is_told_as_such(scheduler: SlurmScheduler, programs: Path) -> None:
    answer(programs, "squeue", stderr="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    for ask in (scheduler.states, scheduler.find):
        with pytest.raises(ClusterError) as caught:
            ask(["101"])
        assert caught.value.transient


def test_a_run_is_found_in_the_accounting_when_the_queue_has_forgotten_it(scheduler: SlurmScheduler) -> None:
    assert scheduler.find(["mill-2", "mill-8", "mill"]) == {"mill-2": "102", "mill-8": "108"}


def test_a_run_of_the_same_name_in_another_home_is_another_run(scheduler: SlurmScheduler) -> None:
    assert scheduler.find(["mill-12"]) == {}


def test_jobs_that_ended_are_no_error_to_cancel_and_others_are(scheduler: SlurmScheduler, programs: Path) -> None:
    quiet = "scancel: error: Kill job error on job id 104: Invalid job id specified\n"
    answer(programs, "scancel", stderr=quiet, code=1)
    scheduler.cancel(["104"])
    answer(programs, "scancel", stderr=quiet + "scancel: error: Access/permission denied", code=1)
    with pytest.raises(ClusterError, match="Access/permission denied"):
        scheduler.cancel(["104", "105"])


def submit(scheduler: SlurmScheduler, home: HomePaths, *, mode: int = 0o700) -> str:
    paths = home.run("mill-1")
    private_directory(paths.root).chmod(mode)
    wanted = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 60}
    return scheduler.submit({"profile": {"name": "p"}, "resources": wanted}, paths)


def test_sbatch_answers_with_an_id_also_in_a_federation(
    scheduler: SlurmScheduler, home: HomePaths, programs: Path
) -> None:
    answer(programs, "sbatch", stdout="4711;leonardo\n")
    assert submit(scheduler, home) == "4711"


@pytest.mark.parametrize(
    ("words", "transient", "hint"),
    [
        ("Batch job submission failed: Socket timed out on send/recv operation", True, "may have been accepted"),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", True, "does not answer"),
        ("Batch job submission failed: invalid account or expired budget", False, "saldo"),
        ("Batch job submission failed: QOSMaxSubmitJobPerUserLimit", False, "wait for jobs of yours"),
        ("Batch job submission failed: Something new", False, "forgia plan"),
    ],
)
def test_an_answer_that_is_no_id_becomes_an_error_with_its_own_words(
    scheduler: SlurmScheduler, home: HomePaths, programs: Path, words: str, transient: bool, hint: str
) -> None:
    answer(programs, "sbatch", stderr=f"sbatch: error: {words}\n", code=1)
    with pytest.raises(ClusterError) as caught:
        submit(scheduler, home)
    assert words in caught.value.message
    assert caught.value.transient is transient
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(("answered", "code"), [("", 0), ("Submitted", 0), ("", 1)])
def test_an_sbatch_that_neither_gives_an_id_nor_complains_may_have_been_heard(
    scheduler: SlurmScheduler, home: HomePaths, programs: Path, answered: str, code: int
) -> None:
    answer(programs, "sbatch", stdout=answered, code=code)
    with pytest.raises(ClusterError) as caught:
        submit(scheduler, home)
    assert caught.value.transient


def test_an_sbatch_that_is_killed_may_have_been_heard(
    scheduler: SlurmScheduler, home: HomePaths, programs: Path
) -> None:
    (programs / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: Invalid account' >&2\nkill -9 $$\n")
    (programs / "sbatch").chmod(0o755)
    with pytest.raises(ClusterError) as caught:
        submit(scheduler, home)
    assert caught.value.transient


def test_a_run_folder_that_others_can_write_is_refused(
    scheduler: SlurmScheduler, home: HomePaths, programs: Path
) -> None:
    answer(programs, "sbatch", stdout="4711\n")
    with pytest.raises(Refused, match="choose what the job runs"):
        submit(scheduler, home, mode=0o770)


def test_every_state_of_the_table_has_a_meaning_and_final_words_a_sentence() -> None:
    assert slurm_words.state_of("OUT_OF_ME+") is JobState.UNKNOWN
    assert slurm_words.reason_of("OUT_OF_MEMORY", "None") == "it used more memory than it asked for"
    assert slurm_words.reason_of("PENDING", "(Resources)") == "it is next; the nodes are still in use"
    assert slurm_words.reason_of("PENDING", "SomethingNew") == "SomethingNew"


def test_a_scheduler_nobody_knows_is_refused_with_the_nearest(home: HomePaths) -> None:
    with pytest.raises(NotFound, match="did you mean slurm"):
        open_scheduler("slrum", home=home)
