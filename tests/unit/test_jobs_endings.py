"""Why an attempt ended, by what schedulers and the job itself have left, and whether the run may go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from forgia.errors import ClusterError
from forgia.logs import NOTICED, reasons
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia.store import read_lines
from forgia_jobs import attempt, endings, going_on
from forgia_jobs.endings import NODE_FAILURE, PREEMPTION, TIME_LIMIT, UNKNOWN, Ending
from forgia_jobs.meeting.rendezvous import ANOTHER_FAILED, PeerLost
from forgia_jobs.request import Resources
from forgia_jobs.stopping import StopRequest

QUIET = "JobId=7 JobState=RUNNING PreemptEligibleTime=100 PreemptTime=None EndTime=900"
GIVING_WAY = "JobId=7 JobState=RUNNING PreemptEligibleTime=100 PreemptTime=200 EndTime=210"
NOTICE: dict[str, Any] = {"signal": "SIGUSR2", "near_end": False}


@pytest.mark.parametrize(
    ("history", "facts", "stopped", "cause"),
    [
        ("NODE_FAIL|100|200\nRUNNING|210|Unknown\n", "", None, NODE_FAILURE),
        ("PREEMPTED|100|200\nPENDING|Unknown|Unknown\n", "", None, PREEMPTION),
        ("REQUEUED|100|200\nRUNNING|210|Unknown\n", GIVING_WAY, NOTICE, PREEMPTION),
        ("REQUEUED|100|200\n", QUIET, NOTICE, TIME_LIMIT),
        ("NODE_FAIL|100|150\nREQUEUED|160|200\n", QUIET, NOTICE, TIME_LIMIT),
        ("TIMEOUT|100|200\n", "", NOTICE, TIME_LIMIT),
        ("", QUIET, NOTICE, TIME_LIMIT),
        ("", "", {**NOTICE, "near_end": True}, TIME_LIMIT),
        ("", "", {"signal": "CLOCK", "near_end": True}, TIME_LIMIT),
        ("", "", NOTICE, UNKNOWN),
        ("REQUEUED|100|200\n", QUIET, {"signal": "SIGTERM"}, UNKNOWN),
        ("REQUEUED|100|200\n", "", {"excluded": ["n2"]}, NODE_FAILURE),
        ("", "", None, UNKNOWN),
        ("sacct: error: nobody answers\n", "slurm_load_jobs error", None, UNKNOWN),
    ],
)
def test_the_cause_is_the_schedulers_word_and_else_unknown(
    history: str, facts: str, stopped: dict[str, Any] | None, cause: str
) -> None:
    assert endings.cause_of(endings.last_row(history), facts, stopped) == cause


def note(cause: str, *, spent_s: float = 60, began: int = 0) -> dict[str, Any]:
    return {"event": "note", "ended": 1, "cause": cause, "spent_s": spent_s, "began": began}


def judged(*notes: dict[str, Any], reached: int = 50, total_s: int = 3600, **budgets: int) -> str:
    """Why the run may not go on; empty where it may."""
    last = notes[-1]
    ending = Ending(attempt=len(notes), cause=last["cause"], spent_s=last["spent_s"], began=last["began"])
    allowed = {"time_limit": 20, "preemption": 20, "node_failure": 3, **budgets}
    try:
        endings.judge(
            ending, list(notes), Resources(walltime_total_s=total_s, attempts=allowed), reached=reached, run_id="mill-1"
        )
    except ClusterError as error:
        assert error.hint
        return error.message
    return ""


def test_each_cause_has_a_budget_of_its_own() -> None:
    assert judged(note(PREEMPTION), note(PREEMPTION), note(NODE_FAILURE), preemption=2, node_failure=1) == ""
    told = judged(note(PREEMPTION), note(NODE_FAILURE), note(PREEMPTION), preemption=1)
    assert told == "attempt 3 was preempted, which resources.attempts.preemption lets happen once"
    assert "lets happen never" in judged(note(NODE_FAILURE), node_failure=0)
    assert judged(*[note(UNKNOWN, began=n) for n in range(30)]) == ""


def test_an_attempt_that_got_nowhere_until_its_time_limit_is_the_last() -> None:
    assert "no further than step 50" in judged(note(TIME_LIMIT, began=50))
    assert judged(note(TIME_LIMIT, began=49)) == ""
    assert judged(note(PREEMPTION, began=50)) == ""


def test_two_attempts_that_got_nowhere_and_ended_nobody_knows_why_are_enough() -> None:
    assert judged(note(UNKNOWN, began=50)) == ""
    assert "nobody says why" in judged(note(UNKNOWN, began=50), note(UNKNOWN, began=50))
    assert judged(note(UNKNOWN, began=40), note(UNKNOWN, began=50)) == ""


def test_the_walltime_is_for_all_attempts_together() -> None:
    assert judged(note(PREEMPTION, spent_s=1800), note(PREEMPTION, spent_s=1799)) == ""
    told = judged(note(PREEMPTION, spent_s=1800), note(PREEMPTION, spent_s=1800))
    assert told == "the run has used up its walltime of 01:00:00 over all attempts before it was done"
    assert judged(note(PREEMPTION, spent_s=10**6), total_s=0) == ""


def test_budgets_begin_anew_with_every_submission(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    journal = Journal(paths)
    for number in (1, 2):
        journal.record(State.RUNNING, by="job", attempt=number)
        journal.note("it ended", by="job", attempt=number + 1, ended=number, cause=PREEMPTION, spent_s=9)
    assert len(endings.earlier(journal.read(), 3)) == 2
    journal.record(State.SUBMITTING, by="submitter", attempt=3)
    assert endings.earlier(journal.read(), 3) == []
    assert endings.before(paths, journal.read(), 3) is None
    paths.attempt(4).mkdir(parents=True)
    paths.history(4).write_text("NODE_FAIL|100|160\n")
    assert endings.before(paths, journal.read(), 4) == Ending(attempt=3, cause=NODE_FAILURE, spent_s=60, began=0)


def test_the_clock_stops_what_nobody_warned_in_time() -> None:
    stop = StopRequest()
    assert (stop.is_set, stop.remaining_s()) == (False, float("inf"))
    stop.deadline, stop.needed_s = time.time() + 100, 20.0
    assert not stop.is_set
    stop.needed_s = 101.0
    assert stop.is_set
    assert stop.is_time_limit
    assert stop.signal_name == "CLOCK"


def test_an_attempt_that_the_job_is_not_allowed_does_nothing_and_says_how_to_ask_for_it(tmp_path: Path) -> None:
    journal = Journal(RunPaths(tmp_path / "mill-1"))
    journal.paths.root.mkdir()
    assert going_on.say_not_allowed(journal, number=3, rank=1) == 0
    assert journal.read() == []
    assert going_on.say_not_allowed(journal, number=3, rank=0) == 0
    status = journal.status()
    assert (status.state, status.attempt) == (State.CHECKPOINTED, 3)
    assert "forgia job retry mill-1 asks for more" in status.reason


def test_a_lost_rank_is_no_failure_until_its_launcher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = RunPaths(tmp_path)
    paths.attempt(1).mkdir(parents=True)
    journal = Journal(paths)
    assert going_on.voice(paths, journal, number=1, is_echo=True) is journal, "no launcher, nobody else to say it"
    monkeypatch.setenv("FORGIA_LAST_ATTEMPT", "5")
    assert going_on.voice(paths, journal, number=1, is_echo=False) is journal
    going_on.voice(paths, journal, number=1, is_echo=True).record(State.FAILED, by="job", attempt=1, reason="lost")
    assert journal.read() == []
    (line,) = read_lines(paths.last_word(1))
    assert (line["event"], line["reason"]) == ("failed", "lost")
    paths.reason(1, 1).write_text('{"kind": "UserError", "reason": "no"}')
    assert going_on.voice(paths, journal, number=1, is_echo=True) is journal, "another rank has said why"


@pytest.mark.parametrize(
    ("error", "is_echo"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("[Rank 0] Watchdog caught NCCL collective operation timeout: WorkNCCL(SeqNum=7)"), True),
        (RuntimeError("NCCL communicator was aborted on rank 1."), True),
        (RuntimeError("NCCL error: unhandled system error\nLast error:\nConnection closed by remote peer n2"), True),
        (RuntimeError("NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)"), False),
        (RuntimeError("NCCL error: invalid usage: Duplicate GPU detected : rank 0 and rank 1"), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (ValueError("gloo"), False),
        (PeerLost(3), True),
        (ClusterError(ANOTHER_FAILED, transient=False), True),
        (ClusterError("2 rank(s) met, but 4 were launched", transient=False), False),
    ],
)
def test_what_only_tells_of_another_rank_is_told_from_a_ranks_own_fault(error: Exception, is_echo: bool) -> None:
    assert attempt.is_echo(error) is is_echo


def test_a_ranks_own_reason_takes_the_place_of_one_that_only_saw_another_go(tmp_path: Path) -> None:
    paths, own = RunPaths(tmp_path), ValueError("its own")
    for error, kinds in ((PeerLost(1), [NOTICED]), (own, ["ValueError"]), (PeerLost(1), ["ValueError"])):
        attempt.leave_reason(paths, number=1, rank=0, error=error)
        assert [words["kind"] for words in reasons(paths, 1)] == kinds
