"""What squeue and sacct say of one job, read for a person who asks why it stands where it stands."""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from dataclasses import dataclass, replace

from forgia.schedulers import slurm_words
from forgia.schedulers.protocol import JobDetails, JobState, JobView

QUEUE_FORMAT = "--format=%i|%T|%r|%S|%N|%j|%Z"
"""Id, state, reason, start (expected, while it waits), nodes, name, folder."""
ACCOUNT_FORMAT = "--format=JobID,State,ExitCode,Submit,NodeList,JobName,WorkDir"
ALIVE = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED")
"""Words of the accounting that say nothing of an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The job's line of squeue."""

    job_id: str
    word: str
    code: str
    start: str
    nodes: str
    name: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One line of sacct: a start of the job, or one of its steps."""

    job_id: str
    word: str
    exit_code: str
    submitted: str
    nodes: str
    name: str
    folder: str

    @property
    def base_id(self) -> str:
        """The job, or the task of an array, of which this is a start or a step."""
        return self.job_id.partition(".")[0]

    @property
    def is_step(self) -> bool:
        """A part of the job, such as the ranks of one srun."""
        return "." in self.job_id

    @property
    def is_nameless(self) -> bool:
        """It tells neither folder nor name: a step, or a start that was over before it had nodes."""
        return self.is_step or is_nameless(self.name, self.folder)

    def __str__(self) -> str:
        place = f" on {self.nodes}" if self.nodes not in ("", "None assigned") else ""
        return f"sacct: {self.job_id} {self.word}, exit code {self.exit_code}{place}"


def is_nameless(name: str, folder: str) -> bool:
    """What the accounting has of a start that was over before it had nodes. Source: a live 22.05.8."""
    return name == "allocation" and not folder


def read_queue(text: str) -> list[Queued]:
    """Lines of squeue in our format; the folder, which comes last, may hold a bar."""
    rows = (line.split("|", 6) for line in text.splitlines())
    return [
        Queued(job_id=row[0], word=row[1], code=row[2], start=row[3], nodes=row[4], name=row[5], folder=row[6])
        for row in rows
        if len(row) == 7
    ]


def read_accounting(text: str) -> list[Counted]:
    """Lines of sacct in our format."""
    rows = (line.split("|", 6) for line in text.splitlines())
    return [
        Counted(
            job_id=row[0], word=row[1], exit_code=row[2], submitted=row[3], nodes=row[4], name=row[5], folder=row[6]
        )
        for row in rows
        if len(row) == 7
    ]


def combine(job_id: str, queued: Queued | None, counted: Sequence[Counted]) -> JobDetails:
    """One answer from both: the queue decides what lives, the accounting tells how each start and step ended."""
    starts = [row for row in counted if not row.is_step]
    lives = queued is not None and slurm_words.state_of(queued.word) is not JobState.ENDED
    last = None if lives else max(starts, key=lambda row: row.submitted, default=None)
    earlier = [row for row in starts if row is not last and row.word not in ALIVE]
    steps = steps_of(last, counted) if last else []
    view = ended_view(job_id, queued, last, steps)
    if queued is not None and lives:
        view = living_view(queued)
    is_waiting = queued is not None and view.state is JobState.PENDING
    return JobDetails(
        view=view,
        waiting=slurm_words.waiting(queued.word, queued.code) if queued and is_waiting else "",
        remedy=slurm_words.HELD.get(slurm_words.bare(queued.code), "").format(job_id=job_id) if queued else "",
        expected_start=queued.start if queued and is_waiting and queued.start[:1].isdigit() else "",
        nodes=nodes_of([queued, last, *reversed(earlier)]),
        earlier=tuple(slurm_words.ending_of(row.word) or f"it ended as {row.word}" for row in earlier),
        words=tuple(words_of(queued, [*earlier, *([last] if last else []), *steps])),
    )


def nodes_of(rows: Sequence[Queued | Counted | None]) -> str:
    """The nodes of the first that had any."""
    return next((row.nodes for row in rows if row and row.nodes not in ("", "None assigned")), "")


def steps_of(last: Counted, counted: Sequence[Counted]) -> list[Counted]:
    """The steps below the last start that went wrong: sacct writes them behind it."""
    place = counted.index(last) + 1
    rest = counted[place:]
    count = next((index for index, row in enumerate(rest) if not row.is_step), len(rest))
    return [row for row in rest[:count] if slurm_words.state_of(row.word) is JobState.ENDED and row.word != "COMPLETED"]


def living_view(queued: Queued) -> JobView:
    """A job of the queue that waits or runs."""
    state = slurm_words.state_of(queued.word)
    runs = state is JobState.RUNNING
    reason = slurm_words.LIVING.get(queued.word, "") if runs else slurm_words.reason_of(queued.word, queued.code)
    return JobView(job_id=queued.job_id, state=state, word=queued.word, reason=reason)


def ended_view(job_id: str, queued: Queued | None, last: Counted | None, steps: Sequence[Counted]) -> JobView:
    """How the job ended. That its ranks ran out of memory is only said of their step: the job itself FAILED."""
    words = [row.word for row in (last, queued) if row is not None]
    word = next((word for word in words if slurm_words.state_of(word) is JobState.ENDED), "")
    if not word:
        return JobView(job_id=job_id, state=JobState.UNKNOWN)
    killed = any(row.word.startswith("OUT_OF_MEMORY") for row in steps)
    reason = slurm_words.reason_of(word, queued.code if queued else "")
    if killed or slurm_words.ending_of(word):
        reason = slurm_words.ENDINGS["OUT_OF_MEMORY"] if killed else slurm_words.ending_of(word)
    _, _, uid = word.partition(" by ")
    view = JobView(
        job_id=job_id, state=JobState.ENDED, word=word, reason=f"{reason} by {user_name(uid)}" if uid else reason
    )
    return with_exit(view, last.exit_code) if last and last.word not in ALIVE else view  # the accounting lags


def with_exit(view: JobView, text: str) -> JobView:
    """The view with ``code:signal`` read into it."""
    code, _, number = text.partition(":")
    if not code.isdecimal() or not number.isdecimal():
        return view
    return replace(view, exit_code=int(code) if number == "0" else None, signal=int(number) or None)


def user_name(uid: str) -> str:
    """Who has this number; the number itself where this machine does not know it."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError):
        return f"user {uid}"


def words_of(queued: Queued | None, counted: Sequence[Counted]) -> list[str]:
    """What was said, by whom."""
    shown = [f"squeue: {queued.job_id} {queued.word}, reason {queued.code}"] if queued else []
    return [*shown, *map(str, counted)]
