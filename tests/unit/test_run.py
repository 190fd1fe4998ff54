"""A run's journal and what it says."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.paths import HomePaths
from forgia.run import ORDER, SETTLED, Journal, RunStatus, State, fold, open_run, settle_ended, statuses, unsettle

EVENTS = st.builds(
    lambda state, attempt: {"event": state.value, "attempt": attempt, "by": "job", "t": "2026-01-01T00:00:00.000Z"},
    st.sampled_from(list(State)),
    st.integers(1, 3),
)


def line(event: str, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"t": f"2026-01-01T00:00:0{attempt}.000Z", "event": event, "by": "job", "attempt": attempt, **fields}


def test_a_late_pending_keeps_the_job_running_but_gives_its_job_id() -> None:
    status = fold("r", [line("submitting"), line("running"), line("pending", job_id="17")])
    assert (status.state, status.job_id) == (State.RUNNING, "17")


def test_the_first_final_word_of_an_attempt_stands() -> None:
    assert fold("r", [line("running"), line("succeeded"), line("cancelled", reason="late")]).state is State.SUCCEEDED
    assert fold("r", [line("running"), line("cancelled", reason="x"), line("failed", reason="y")]).reason == "x"


def test_a_job_that_speaks_after_all_overrules_lost() -> None:
    assert fold("r", [line("running"), line("lost", reason="gone"), line("succeeded")]).state is State.SUCCEEDED


def test_a_new_attempt_starts_afresh_and_lines_of_an_old_one_change_nothing() -> None:
    lines = [line("running"), line("failed", reason="broke"), line("submitting", 2), line("cancelled", 1, reason="old")]
    status = fold("r", lines)
    assert (status.state, status.attempt, status.reason) == (State.SUBMITTING, 2, "")


@given(st.lists(EVENTS, max_size=12))
def test_within_an_attempt_a_run_only_goes_up(lines: list[dict[str, Any]]) -> None:
    before = fold("r", [])
    for end in range(len(lines) + 1):
        after = fold("r", lines[:end])
        assert after.attempt >= before.attempt
        if after.attempt == before.attempt:
            assert ORDER[after.state] >= ORDER[before.state]
        before = after


@given(st.lists(EVENTS, max_size=12), st.integers(0, 12))
def test_unknown_events_and_notes_change_nothing(lines: list[dict[str, Any]], place: int) -> None:
    noisy = [
        *lines[:place],
        {"event": "note", "attempt": 9},
        {"event": "from the future", "attempt": 9},
        *lines[place:],
    ]
    assert fold("r", noisy) == fold("r", lines)


def test_a_last_line_cut_by_a_crash_is_passed_over(home: HomePaths) -> None:
    paths = home.run("a-1")
    paths.root.mkdir(parents=True)
    journal = Journal(paths)
    journal.record(State.RUNNING, by="job", attempt=1)
    with paths.journal.open("a") as file:
        file.write('{"event":"succ')
    assert journal.status().state is State.RUNNING


def test_the_last_run_is_the_one_that_was_asked_for_last_whoever_spoke_since(home: HomePaths) -> None:
    for name in ("a", "b"):
        home.run(name).root.mkdir(parents=True)
        Journal(home.run(name)).record(State.SUBMITTING, by="submitter", attempt=1, t=f"2026-11-23T10:00:0{ord(name)}")
    Journal(home.run("a")).record(State.RUNNING, by="job", attempt=1)
    os.utime(home.run("b").journal, (0, 0))
    assert open_run(home, "last").root.name == "b"
    Journal(home.run("a")).record(State.SUBMITTING, by="submitter", attempt=2, t="2026-11-23T11:00:00")
    assert open_run(home, "last").root.name == "a"


def test_a_line_that_a_full_disk_cut_swallows_no_later_one(home: HomePaths) -> None:
    paths = home.run("a-1")
    paths.root.mkdir(parents=True)
    journal = Journal(paths)
    journal.record(State.RUNNING, by="job", attempt=1)
    with paths.journal.open("a") as file:
        file.write('{"event":"check')
    journal.record(State.SUCCEEDED, by="job", attempt=1)
    assert [line["event"] for line in journal.read()] == ["running", "succeeded"]


def test_a_state_that_could_not_be_written_whole_is_an_error(home: HomePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = home.run("a-1")
    paths.root.mkdir(parents=True)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(OSError, match="No space left"):
        Journal(paths).record(State.RUNNING, by="job", attempt=1)


def test_ended_runs_come_from_one_file_and_open_ones_from_their_journals(home: HomePaths) -> None:
    for name, state in (("a", State.FAILED), ("b", State.RUNNING), ("c", State.COLLECTED)):
        home.run(name).root.mkdir(parents=True)
        Journal(home.run(name)).record(state, by="job", attempt=1, reason="r")
    before = list(statuses(home))
    settle_ended(home, before)
    home.run("a").journal.unlink()
    home.run("c").journal.unlink()
    assert list(statuses(home)) == before
    unsettle(home, "a")
    assert next(iter(statuses(home))).state is State.PLANNED  # its journal is asked again, and is gone


def test_settling_twice_writes_once(home: HomePaths) -> None:
    status = RunStatus(run_id="a", state=State.FAILED)
    assert status.state in SETTLED
    home.runs.mkdir(parents=True)
    settle_ended(home, [status])
    settle_ended(home, [status])
    assert len(home.settled_runs.read_text().splitlines()) == 1
    assert RunStatus.from_json(json.loads(home.settled_runs.read_text())) == status
