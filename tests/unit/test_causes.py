"""Why a run stands where it stands: recorded words of failures, and runs that are well."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgia import causes
from forgia.causes import Explanation, evidence
from forgia.causes.table import CAUSES
from forgia.errors import ClusterError
from forgia.logs import NOTICED, reasons
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.schedulers import array as arrays
from forgia.schedulers import slurm_words
from forgia.schedulers.protocol import JobState
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory, write_json
from forgia.testing import FakeScheduler

RECORDED = Path(__file__).parent / "recorded/logs"
RUN = "mill-1"
REQUEST: dict[str, Any] = {
    "recipe": {"name": "mill"},
    "train": {"batch_size": 64, "learning_rate": 0.01},
    "resources": {
        "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 4, "walltime_s": 86400,
    },
    "profile": {"name": "leonardo-booster", "scheduler": "fake", "account": "SME_1", "partition": "boost"},
}  # fmt: skip


@pytest.fixture
def fake(home: HomePaths) -> FakeScheduler:
    return FakeScheduler(home=home)


@pytest.fixture
def paths(home: HomePaths) -> RunPaths:
    """A run that is planned."""
    paths = home.run(RUN)
    private_directory(paths.root)
    write_json(paths.request, REQUEST)
    Journal(paths).record(State.PLANNED, by="submitter", attempt=1)
    return paths


@pytest.fixture
def sent(paths: RunPaths, fake: FakeScheduler) -> str:
    """Its job's id: the run was submitted."""
    Journal(paths).record(State.SUBMITTING, by="submitter", attempt=1, scheduler="fake", profile="leonardo-booster")
    job_id = fake.submit(REQUEST, paths)
    Journal(paths).record(State.PENDING, by="submitter", attempt=1, job_id=job_id)
    return job_id


def begin(paths: RunPaths, fake: FakeScheduler, job_id: str) -> None:
    fake.start(job_id)
    Journal(paths).record(State.RUNNING, by="job", attempt=1, job_id=job_id, host="n1")


def fail(paths: RunPaths, reason: str, **fields: Any) -> None:
    Journal(paths).record(State.FAILED, by="job", attempt=1, reason=reason, **fields)


def leave(paths: RunPaths, rank: int, kind: str, reason: str, *, at: str = "2026-11-22T10:00:00.000Z") -> None:
    private_directory(paths.attempt(1))
    words = {"t": at, "rank": rank, "host": f"n{rank + 1}", "kind": kind, "reason": reason}
    write_json(paths.reason(1, rank), words)


def log(paths: RunPaths, name: str, recorded: str) -> None:
    private_directory(paths.attempt(1))
    shutil.copy(RECORDED / recorded, paths.attempt(1) / name)


@pytest.fixture
def why(paths: RunPaths, home: HomePaths, fake: FakeScheduler) -> Callable[[], Explanation]:
    return lambda: causes.explain(home, RUN, lambda _: fake)


Why = Callable[[], Explanation]


def test_the_gpus_memory_is_told_from_the_nodes(paths: RunPaths, sent: str, fake: FakeScheduler, why: Why) -> None:
    log(paths, "rank-0.err", "cuda-out-of-memory.err")
    leave(paths, 0, "OutOfMemoryError", "OutOfMemoryError: CUDA out of memory. Tried to allocate 22.00 MiB.")
    fail(paths, "OutOfMemoryError: CUDA out of memory. Tried to allocate 22.00 MiB.", rank=0, host="n1")
    found = why()
    assert found.cause == "gpu-memory"
    assert found.next == "forgia run mill --set train.batch_size=32"
    assert (found.rank, found.node) == (0, "n1")
    assert (found.evidence[0].file, found.evidence[0].number) == (str(paths.stderr(1, 0)), 4)
    assert fake.calls["explain"] == 0, "a clear cause needs no scheduler"


def test_a_collective_that_timed_out_is_the_fault_of_the_rank_that_left_no_word(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    log(paths, "rank-0.err", "nccl-watchdog.err")
    (paths.attempt(1) / "rank-1.err").touch()
    leave(paths, 0, NOTICED, "contact with another rank was lost")
    fail(paths, "contact with another rank was lost", rank=0, host="n1", kind=NOTICED)
    fake.end(sent, exit_code=1)
    found = why()
    assert found.rank == 1
    assert found.cause == "lost-peer"
    assert fake.calls["explain"] == 1


def test_a_lone_watchdog_is_read_from_the_log(paths: RunPaths, sent: str, fake: FakeScheduler, why: Why) -> None:
    log(paths, "rank-0.err", "nccl-watchdog.err")
    fake.end(sent, exit_code=1)
    found = why()
    assert found.cause == "collective-timeout"
    assert found.evidence[0].file.endswith("rank-0.err")


def test_those_who_only_noticed_come_after_the_one_that_failed(paths: RunPaths, sent: str, why: Why) -> None:
    leave(paths, 0, NOTICED, "contact with another rank was lost", at="2026-11-22T09:59:59.000Z")
    leave(paths, 2, "ValueError", "ValueError: later", at="2026-11-22T10:00:02.000Z")
    leave(paths, 3, "ValueError", "ValueError: wear is negative", at="2026-11-22T10:00:01.000Z")
    fail(paths, "rank-3: ValueError: wear is negative")
    assert [words["rank"] for words in reasons(paths, 1)] == [3, 2, 0]
    assert (why().rank, why().node) == (3, "n4")


def test_a_rank_killed_for_memory_is_named_by_the_launcher(paths: RunPaths, sent: str, why: Why) -> None:
    log(paths, "batch.log", "step-out-of-memory.log")
    log(paths, "rank-1.err", "step-out-of-memory.err")
    log(paths, "rank-0.err", "step-out-of-memory.log")
    leave(paths, 0, NOTICED, "contact with another rank was lost")
    fail(paths, "contact with another rank was lost")
    found = why()
    assert (found.cause, found.rank, found.node) == ("host-memory", 1, "n2")
    assert found.next == "forgia run mill --set resources.memory_gb=8"


def test_a_crash_in_native_code_is_named_by_the_launcher(paths: RunPaths, sent: str, why: Why) -> None:
    log(paths, "batch.log", "crash.log")
    leave(paths, 0, NOTICED, "contact with another rank was lost")
    fail(paths, "contact with another rank was lost")
    found = why()
    assert (found.cause, found.rank, found.node) == ("crashed", 1, "n2")


def test_ranks_that_a_time_limit_ended_did_not_fail_first(paths: RunPaths, sent: str, why: Why) -> None:
    log(paths, "batch.log", "time-limit.log")
    fail(paths, "the job ended without a word")
    found = why()
    assert (found.cause, found.rank) == ("time-limit", None)
    assert "24:00:00" in found.sentence


def test_an_attempt_that_was_refused_is_not_explained_by_the_logs_of_the_one_before(
    paths: RunPaths, sent: str, why: Why
) -> None:
    log(paths, "batch.log", "step-out-of-memory.log")
    journal = Journal(paths)
    journal.record(State.SUBMITTING, by="submitter", attempt=2, scheduler="fake")
    journal.record(State.FAILED, by="submitter", attempt=2, reason="the scheduler refused it: Invalid account")
    assert (why().cause, why().rank) == ("bad-account", None)


def test_what_the_launcher_said_of_an_earlier_start_is_not_about_this_one(paths: RunPaths, sent: str) -> None:
    log(paths, "batch.log", "requeued.log")
    with paths.batch_log(1).open("a") as file:
        file.write("srun: error: n3: task 2: Exited with exit code 4\n")
    assert evidence.first_failure(paths, 1).rank is None
    second = evidence.first_failure(paths, 2)
    assert (second.rank, second.node) == (2, "n3")


def test_a_member_of_an_array_that_was_started_again_is_told_by_its_own_start(paths: RunPaths, sent: str) -> None:
    private_directory(paths.attempt(1))
    first = "srun: Job step aborted: Waiting up to 4 seconds for it.\nsrun: error: n1: task 0: Terminated"
    again = "forgia: start 2 of job 7_0\nsrun: error: n2: task 0: Killed"
    paths.batch_log(1).write_text(f"{first}\n{again}\n")
    assert evidence.first_failure(paths, 1).rank is None
    second = evidence.first_failure(paths, 2)
    assert (second.rank, second.node) == (0, "n2")


def test_a_task_that_never_came_to_its_run_is_told_by_the_log_of_the_array(
    paths: RunPaths, home: HomePaths, why: Why
) -> None:
    arrays.mark(paths, 1, arrays.Place("mill-sweep-1", 1, 0))
    log = home.sweep("mill-sweep-1").array(1).log
    private_directory(log.parent)
    words = "the list of this array's runs was altered after it was sent; nothing is started"
    log.write_text(f"a word of another task\nforgia: {words}\n")
    fail(paths, "the job ended without a word of its own: it ended with an exit code other than zero")
    found = why()
    assert found.cause == "integrity"
    assert found.evidence[0].file == str(log)


@pytest.mark.parametrize(
    ("words", "cause", "hint"),
    [
        ((RECORDED / "expired-budget.txt").read_text().strip(), "expired-budget", "saldo -b"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "bad-qos", "sacctmgr show assoc"),
        ("sbatch: error: invalid partition specified: nope", "bad-partition", "sinfo"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid", "too-much-asked", "walltime"),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit", "over-limit", "limit"),
        ("sbatch: error: something new", "refused", "forgia plan"),
    ],
)
def test_a_refusal_is_told_with_what_to_change(paths: RunPaths, why: Why, words: str, cause: str, hint: str) -> None:
    journal = Journal(paths)
    journal.record(State.SUBMITTING, by="submitter", attempt=1, scheduler="fake")
    journal.record(State.FAILED, by="submitter", attempt=1, reason=f"the scheduler refused it: {words}")
    found = why()
    assert (found.cause, hint in found.next) == (cause, True), found


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("OSError: [Errno 122] Disk quota exceeded: '/leonardo_work/x'", "disk-quota"),
        ("OSError: [Errno 28] No space left on device", "disk-full"),
        ("slurmstepd: error: execve(): /env/bin/python: No such file or directory", "environment"),
        ("forgia: line 12 of the batch script failed: module load cuda/12.3", "environment"),
        ("ModuleNotFoundError: No module named 'forgia_jobs'", "environment"),
        ("ModuleNotFoundError: No module named 'lightgbm'", "import-error"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-22T10:00:00 DUE TO NODE FAILURE ***", "node-failure"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-22T10:00:00 DUE TO PREEMPTION ***", "preempted"),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.", "host-memory"),
        ("CUDA error: uncorrectable ECC error encountered", "gpu-fault"),
        ("rank 1 ended by signal 9", "killed"),
    ],
)
def test_a_line_of_a_log_tells_its_cause(paths: RunPaths, sent: str, why: Why, line: str, cause: str) -> None:
    private_directory(paths.attempt(1))
    paths.stderr(1, 0).write_text(f"loading\n{line}\n")
    fail(paths, "the job ended without a word")
    assert why().cause == cause


def test_a_warning_on_the_way_is_not_the_cause_of_another_failure(paths: RunPaths, sent: str, why: Why) -> None:
    private_directory(paths.attempt(1))
    frame = f'  File "{paths.recipe}/task.py", line 7, in loss\n'
    words = (
        f"CUDA out of memory: trying a smaller batch\nTraceback (most recent call last):\n{frame}ValueError: no rows\n"
    )
    paths.stderr(1, 0).write_text(words)
    leave(paths, 0, "ValueError", "ValueError: no rows")
    fail(paths, "ValueError: no rows")
    found = why()
    assert found.cause == "recipe-error"
    assert found.sentence == "the recipe's code failed at task.py:7: ValueError: no rows"


def test_every_row_of_the_table_can_be_filled(paths: RunPaths) -> None:
    for cause in CAUSES:
        text = cause.sentence + cause.next
        assert text.count("{") == text.count("}")
        assert cause.name == cause.name.lower()


def test_a_cause_nobody_knows_is_said_with_the_last_lines_and_the_exit_code(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    private_directory(paths.attempt(1))
    paths.stderr(1, 0).write_text("".join(f"line {number}\n" for number in range(50)))
    fake.end(sent, exit_code=9)
    found = why()
    assert found.cause == "unknown"
    assert not found.is_clear
    assert found.tail[-1] == "line 49"
    assert found.exit_code == 9
    assert found.next == f"forgia job logs {RUN}"


def test_logs_that_are_missing_binary_or_huge_do_no_harm(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    fake.end(sent, exit_code=1)
    assert why().cause == "unknown"
    private_directory(paths.attempt(1))
    paths.stderr(1, 0).write_bytes(os.urandom(5000) + b"\x1b[31m\x00")
    os.mkfifo(paths.stdout(1, 0))
    assert all(text.isprintable() for text in why().tail)
    with paths.stderr(1, 0).open("wb") as file:
        file.truncate(1 << 30)  # a hole: it takes no room
        file.seek(0, 2)
        file.write(b"\nOSError: [Errno 28] No space left on device\n")
    found = why()
    assert found.cause == "disk-full"
    assert found.evidence[0].number is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3)
NAMES = st.sampled_from(["t", "rank", "host", "kind", "reason"])
BYTES = st.binary(max_size=300) | st.dictionaries(NAMES, JSON).map(lambda value: json.dumps(value).encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.fixed_dictionaries(dict.fromkeys(("rank-0.reason", "rank-1.reason", "rank-0.err", "batch.log"), BYTES)))
def test_no_bytes_in_a_runs_folder_break_the_answer(
    paths: RunPaths, sent: str, home: HomePaths, data: dict[str, bytes]
) -> None:
    private_directory(paths.attempt(1))
    for name, content in data.items():
        (paths.attempt(1) / name).write_bytes(content)
    if not Journal(paths).status().state.is_final:
        fail(paths, "it broke")
    found = causes.explain_files(home, RUN)
    assert json.dumps(found.to_json())
    assert all(text.isprintable() for text in (found.sentence, found.first, *(line.text for line in found.evidence)))


def test_a_reason_of_bare_text_is_read_too(paths: RunPaths, sent: str, why: Why) -> None:
    private_directory(paths.attempt(1))
    paths.reason(1, 1).write_text("the environment cannot be used on node n2: built for another glibc")
    fail(paths, "the environment cannot be used on node n2: built for another glibc")
    found = why()
    assert found.cause == "environment"
    assert "another glibc" in found.sentence


def test_a_waiting_run_says_since_when_why_and_until_when(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    fake.describe(sent, waiting="queued", expected_start="2026-11-24T08:00:00", words=["squeue: PENDING"])
    found = why()
    assert found.cause == "queued"
    assert "expected to start at 2026-11-24 08:00:00" in found.sentence
    assert "may let it start sooner" in found.next, "a day is longer than most gaps"
    fake.describe(sent, waiting="limited")
    assert why().cause == "held-by-limit"
    assert "no start is foreseen yet" in why().sentence
    fake.describe(sent, waiting="held", remedy="scontrol release 7")
    assert (why().cause, why().next) == ("held", "scontrol release 7")


def test_a_run_that_lost_its_place_says_so_while_it_waits_again(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    begin(paths, fake, sent)
    fake.requeue(sent)
    fake.describe(sent, waiting="queued", earlier=["another job took its place"])
    found = why()
    assert found.cause == "preempted"
    assert "back in the queue" in found.sentence


def test_a_running_run_tells_how_far_it_is(paths: RunPaths, sent: str, fake: FakeScheduler, why: Why) -> None:
    begin(paths, fake, sent)
    assert "no step done yet" in why().sentence
    paths.metrics.write_text(json.dumps({"kind": "step", "step": 5, "progress": 0.25, "pad": "x" * 900}) + "\n")
    found = why()
    assert found.cause == "running"
    assert "step 5, 25% done" in found.sentence
    assert fake.calls["explain"] == 2
    old = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    for place in (paths.metrics, paths.journal):
        os.utime(place, (old, old))
    assert "may hang" in why().sentence


def test_a_stop_at_a_checkpoint_an_end_and_a_release_are_told(
    paths: RunPaths, sent: str, fake: FakeScheduler, why: Why
) -> None:
    journal = Journal(paths)
    begin(paths, fake, sent)
    journal.record(State.CHECKPOINTED, by="job", attempt=1, reason="stopped by SIGTERM at step 5 of 9")
    fake.end(sent)
    assert (why().cause, why().next) == ("checkpointed", f"forgia job retry {RUN}")
    journal.record(State.SUCCEEDED, by="job", attempt=1)
    assert why().next == "forgia collect"
    journal.record(State.COLLECTED, by="submitter", attempt=1, version="1.0.0")
    assert why().next == "forgia model show mill@1.0.0"


def test_who_cancelled_a_run_is_told(paths: RunPaths, sent: str, why: Why) -> None:
    Journal(paths).record(State.CANCELLED, by="submitter", attempt=1, reason="cancelled by anna")
    assert (why().cause, why().sentence) == ("cancelled", "it was cancelled by anna")


def test_a_point_that_its_sweep_gave_up_says_when(paths: RunPaths, why: Why) -> None:
    reason = "given up early after epoch 3: others were better by then"
    Journal(paths).record(State.CANCELLED, by="job", attempt=1, reason=reason)
    found = why()
    assert (found.cause, found.sentence) == (
        "given-up",
        "its sweep gave it up after epoch 3, when other points were better",
    )


def test_a_scheduler_that_does_not_answer_changes_nothing_and_hides_nothing(
    paths: RunPaths, sent: str, home: HomePaths, fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(paths, fake, sent)
    before = paths.journal.read_bytes()

    def silent(_: str) -> Any:
        raise ClusterError("squeue: Unable to contact slurm controller", transient=True)

    monkeypatch.setattr(fake, "explain", silent)
    found = causes.explain(home, RUN, lambda _: fake)
    assert "Unable to contact" in found.unanswered
    assert found.cause == "running"
    assert paths.journal.read_bytes() == before


def test_a_lost_submission_is_looked_up_and_not_asked_about_twice(
    paths: RunPaths, fake: FakeScheduler, why: Why
) -> None:
    Journal(paths).record(State.SUBMITTING, by="submitter", attempt=1, scheduler="fake")
    assert why().cause == "submitting"
    fake.submit(REQUEST, paths)
    assert why().state == "pending"
    assert fake.calls["explain"] == 0


# What squeue and sacct say


@pytest.fixture
def slurm(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SlurmScheduler]:
    """A scheduler whose squeue and sacct print these texts, and count their calls."""

    def make(queue: str | None, accounting: str | None, *, refusal: str = "Connection refused") -> SlurmScheduler:
        folder = private_directory(tmp_path / "bin")
        refusals = {"squeue": "slurm_load_jobs error: Invalid job id specified", "sacct": refusal}
        for name, text in (("squeue", queue), ("sacct", accounting)):
            (folder / f"{name}.out").write_text((text or refusals[name]).format(runs=home.runs))
            ending = "" if text is not None else " >&2; exit 1"
            script = f'#!/bin/sh\necho {name} >> "{folder}/calls"\ncat "{folder}/{name}.out"{ending}\n'
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
        return SlurmScheduler({}, home=home)

    return make


def test_a_step_that_ran_out_of_memory_explains_a_job_that_only_failed(slurm: Callable[..., SlurmScheduler]) -> None:
    recorded = (RECORDED / "step-out-of-memory.sacct").read_text()
    details = slurm("700|FAILED|NonZeroExitCode|2026-11-22T10:00:00|n[1-2]|mill-1|{runs}/mill-1\n", recorded).explain(
        "700"
    )
    assert (details.view.state, details.view.word, details.view.exit_code) == (JobState.ENDED, "FAILED", 1)
    assert details.view.reason == "it used more memory than it asked for"
    assert "sacct: 700.0 OUT_OF_MEMORY, exit code 0:125 on n[1-2]" in details.words
    assert details.nodes == "n[1-2]"
    assert details.view.run_id == "mill-1"


def test_a_job_cancelled_between_two_starts_has_ended_and_its_canceller_is_named(
    slurm: Callable[..., SlurmScheduler],
) -> None:
    details = slurm(None, (RECORDED / "requeued-then-cancelled.sacct").read_text()).explain("45405237")
    assert details.view.state is JobState.ENDED
    assert details.view.reason == "it was cancelled by root"
    assert details.earlier == ("it was sent back to the queue",)


def test_a_waiting_job_needs_no_accounting(slurm: Callable[..., SlurmScheduler]) -> None:
    line = "7|PENDING|QOSMaxJobsPerUserLimit|2026-11-24T08:00:00||mill-1|{runs}/mill-1\n"
    details = slurm(line, None).explain("7")
    assert (details.waiting, details.expected_start) == ("limited", "2026-11-24T08:00:00")
    assert details.view.reason == "you already run as many jobs as the QOS gives one user"
    assert slurm(line.replace("2026-11-24T08:00:00", "N/A"), None).explain("7").expected_start == ""


def test_a_job_that_was_sent_back_to_be_held_is_told_with_the_command_that_lets_it_go(
    slurm: Callable[..., SlurmScheduler],
) -> None:
    line = "7|PENDING|job requeued in held state|2026-11-24T08:00:00||mill-1|{runs}/mill-1\n"
    details = slurm(line, None).explain("7")
    assert (details.waiting, details.remedy) == ("held", "scontrol release 7")


def test_a_running_job_costs_one_call_and_another_at_most_two(
    slurm: Callable[..., SlurmScheduler], tmp_path: Path
) -> None:
    assert slurm("7|RUNNING|None|N/A|n1|mill-1|{runs}/mill-1\n", "").explain("7").nodes == "n1"
    assert (tmp_path / "bin/calls").read_text().split() == ["squeue"]
    assert slurm(None, "").explain("8").view.state is JobState.UNKNOWN
    assert (tmp_path / "bin/calls").read_text().split() == ["squeue", "squeue", "sacct"]


def test_a_job_of_another_home_tells_nothing(slurm: Callable[..., SlurmScheduler]) -> None:
    details = slurm(
        "7|FAILED|None|N/A|n1|mill-1|/other/mill-1\n", "7|FAILED|1:0|2026-11-22T10:00:00|n1|x|/y\n"
    ).explain("7")
    assert details.view.state is JobState.UNKNOWN
    assert details.words == ()


def test_a_silent_accounting_is_an_error_only_where_the_queue_does_not_know_the_job(
    slurm: Callable[..., SlurmScheduler],
) -> None:
    with pytest.raises(ClusterError, match="Connection refused"):
        slurm(None, None).explain("7")
    assert slurm("7|FAILED|TimeLimit|N/A|n1|mill-1|{runs}/mill-1\n", None).explain("7").view.reason


def test_a_site_without_accounting_is_no_error(slurm: Callable[..., SlurmScheduler]) -> None:
    line, words = "7|TIMEOUT|TimeLimit|N/A|n1|mill-1|{runs}/mill-1\n", "Slurm accounting storage is disabled"
    assert slurm(line, None, refusal=words).explain("7").view.reason == "it reached its time limit"
    assert slurm(None, None, refusal=words).explain("7").view.state is JobState.UNKNOWN


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("AssocGrpCpuLimit", "limited", "the account is at its limit of cores"),
        ("AssocGrpCPURunMinutesLimit", "limited", "cores times minutes"),
        ("QOSMaxNodePerUserLimit", "limited", "the QOS is at its limit of nodes for one user"),
        ("QOSGrpGRESMinutes", "limited", "the budget of GPUs times minutes of the QOS is used up"),
        ("AssocMaxWallDurationPerJobLimit", "never-starts", "more wall time than the account gives one job"),
        ("QOSMinGRES", "never-starts", "fewer GPUs than the QOS wants"),
        ("MaxGRESPerAccount", "limited", "GPUs for one account"),
        ("(Resources)", "queued", "it is next"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-9]", "queued", "down or kept for maintenance"),
        ("launch failed requeued held", "launch-failed", "could not be launched"),
        ("JobHeldUser", "held", "it is held"),
        ("PartitionTimeLimit", "never-starts", "more time than the partition gives"),
        ("SomethingNew", "queued", "SomethingNew"),
    ],
)
def test_a_reason_of_slurm_is_told_in_plain_words(code: str, kind: str, words: str) -> None:
    assert words in slurm_words.reason_of("PENDING", code)
    assert slurm_words.waiting("PENDING", code) == kind
