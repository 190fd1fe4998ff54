"""From one attempt to the next: why the last one ended, how long this one may go on, and what its stop is called."""

from __future__ import annotations

import time
from typing import Any

from forgia import store
from forgia.logs import NOTICED, reasons
from forgia.paths import RunPaths
from forgia.run import Journal, State, now
from forgia.schedulers.payload import ANOTHER_ATTEMPT, STOPPED
from forgia_jobs import endings
from forgia_jobs.checkpoints import checkpoint
from forgia_jobs.context import Attempt
from forgia_jobs.loop import TrainingLoop

DONE, FAILED = 0, 1


def explain_last(attempt: Attempt) -> None:
    """Write down why the attempt before this one ended, and how long this one may go on.

    Raises: ClusterError — the run may not go on by itself after that.
    """
    if not attempt.world.leads:
        return
    lines, resources = attempt.journal.read(), attempt.request.resources
    notes = endings.earlier(lines, attempt.number)
    if ending := endings.before(attempt.paths, lines, attempt.number):
        about = {"cause": ending.cause, "spent_s": round(ending.spent_s, 1), "began": ending.began}
        attempt.journal.note(ending.sentence, by="job", attempt=attempt.number, ended=ending.attempt, **about)
        notes = [*notes, about]
        reached = checkpoint.newest_step(attempt.paths.checkpoints)
        endings.judge(ending, notes, resources, reached=reached, run_id=attempt.paths.root.name)
    attempt.spent_before_s = sum(float(note.get("spent_s", 0)) for note in notes)
    ends = [attempt.limits.end] if attempt.limits.end else []
    if resources.walltime_total_s:
        ends.append(time.time() + resources.walltime_total_s - attempt.spent_before_s - own_seconds(attempt))
    attempt.stop.deadline = min(ends, default=None)


def own_seconds(attempt: Attempt) -> float:
    """How long this attempt has been going on."""
    return time.perf_counter() - attempt.started


def last_step(paths: RunPaths) -> int:
    """The last step that was told of, whether or not a checkpoint has it."""
    return max((int(line.get("step", 0)) for line in store.read_lines(paths.metrics)), default=0)


def say_stopped(attempt: Attempt, loop: TrainingLoop) -> int:
    """Tell the journal of a clean stop, whose checkpoint is on disk; the exit code."""
    stop, step = attempt.stop, loop.cursor.step
    is_limit = attempt.world.any(stop.is_time_limit)
    if not attempt.world.leads:
        return ANOTHER_ATTEMPT if is_limit else DONE
    (store.private_directory(attempt.paths.attempt(attempt.number)) / STOPPED).touch()
    near_end = is_limit and stop.remaining_s() <= attempt.limits.near()
    spent_s = own_seconds(attempt) + (max(stop.remaining_s(), 0.0) if near_end else 0.0)
    total_s, last = attempt.request.resources.walltime_total_s, attempt.limits.last
    where = f"stopped by {stop.signal_name or 'a signal on another rank'} at step {step} of {loop.total_steps}"
    about = {"step": step, "signal": stop.signal_name, "near_end": near_end, "spent_s": round(spent_s, 1)}
    about["checkpoint_s"] = round(loop.writer.slowest_s, 3)
    retry = f"forgia job retry {attempt.paths.root.name} goes on"
    state, code, then = State.CHECKPOINTED, ANOTHER_ATTEMPT if is_limit else DONE, "the next attempt goes on"
    if is_limit and total_s and attempt.spent_before_s + spent_s >= total_s:
        state, code, then = State.FAILED, FAILED, f"{endings.walltime_sentence(total_s)}; {retry}"
    elif is_limit and last is not None and attempt.number >= last:
        code, then = DONE, f"the job has made all the attempts that it was allowed; {retry}"
    attempt.journal.record(state, by="job", attempt=attempt.number, reason=f"{where}; {then}", **about)
    return code


def say_not_allowed(journal: Journal, *, number: int, rank: int) -> int:
    """An attempt that nobody paid for, such as a scheduler's own after a preemption, ends before it begins."""
    if rank == 0:
        retry = f"forgia job retry {journal.paths.root.name} asks for more"
        reason = f"attempt {number} is more than the job was allowed, so nothing was done in it; {retry}"
        journal.record(State.CHECKPOINTED, by="job", attempt=number, reason=reason)
    return DONE


class LastWord(Journal):
    """A journal's line that counts only if nothing goes on after the attempt, which its launcher sees.

    A rank that loses contact cannot know whether another has failed or its node has, and SLURM starts the job again.
    """

    def record(self, state: State, *, by: str, attempt: int, **fields: Any) -> None:
        """Leave it for the launcher."""
        line = {"t": now(), "event": state.value, "by": by, "attempt": attempt, **fields}
        store.append_line(self.paths.last_word(attempt), line, sync=True)


def voice(paths: RunPaths, journal: Journal, *, number: int, is_echo: bool) -> Journal:
    """Where to say that this attempt has failed; ``is_echo``: this rank only saw another one go."""
    is_certain = any(words["kind"] != NOTICED for words in reasons(paths, number))
    is_launched = endings.limits().last is not None
    return LastWord(paths) if is_launched and is_echo and not is_certain else journal
