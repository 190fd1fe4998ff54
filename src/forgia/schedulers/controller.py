"""What a local job is: submitit's controller, which starts the ranks, warns them, stops them and says how it ended.

Run as ``python -m forgia.schedulers.controller <run>/submission/job-<attempt>.sh``; the rest comes in the variables
``SUBMITIT_LOCAL_*``.
Source: submitit 1.5.4, Controller in local/local.py
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from submitit.local.local import Controller

from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State, claim
from forgia.schedulers import interruptions, local_jobs, processes
from forgia.schedulers.interruptions import Agenda, Interruption
from forgia.schedulers.payload import (
    ATTEMPT_VARIABLE,
    END_VARIABLE,
    JOB_VARIABLE,
    LAST_ATTEMPT_VARIABLE,
    MORE_WANTED,
    TASK_FILE,
)
from forgia.store import append_line, file_mode, private_directory, read_lines, write_atomic

GRACE_S = 10.0
"""Between asking the ranks to stop and killing them."""
FAILURE_GRACE_S = 60.0
"""After a rank has failed: the others notice by themselves, and the leader still has to say why."""
TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt, or the job, ended."""

    word: str
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None


class RunController(Controller):
    """Submitit's controller with forgia's log files, an end to what outlives a failed rank, and a record of the end."""

    def __init__(self, paths: RunPaths) -> None:
        super().__init__(paths.submission)
        self.paths = paths
        self.submitted = self.attempt = int(os.environ[ATTEMPT_VARIABLE])
        self.last = int(os.environ[LAST_ATTEMPT_VARIABLE])
        self.agenda = Agenda(paths)
        self.history: list[str] = []
        self.started = 0.0
        self.stop_asked = False
        self.failed: int | None = None
        """The rank of this attempt that was first to end, and not well."""
        signal.signal(signal.SIGTERM, self._note_stop)
        signal.signal(signal.SIGINT, self._note_stop)

    def run(self, max_retry: int = 0) -> None:
        """Attempt after attempt, until one is the last; submitit's limit of them is not ours."""
        while True:
            if not claim(self.paths, self.attempt, job_id=self.job_id, restart=self.attempt - self.submitted):
                ending = Ending(word="COMPLETED", reason=f"attempt {self.attempt} is with another job")
                break
            self.start_tasks()
            ending = self.watch()
            if self.attempt >= self.last or not self.goes_on(ending):
                self.say_last_word()
                break
            self.next_attempt(ending)
        self.agenda.close()
        self.record(ending)

    def goes_on(self, ending: Ending) -> bool:
        """Another attempt is wanted, by the job or after an interruption that a scheduler answers with another."""
        if self.stop_asked:
            return False
        if ending.word in (interruptions.WORDS[interruptions.PREEMPT], interruptions.WORDS[interruptions.KILL]):
            return not Journal(self.paths).status().state.is_final
        return (self.paths.attempt(self.attempt) / MORE_WANTED).exists()

    def next_attempt(self, ending: Ending) -> None:
        """Count on, and tell the attempt how those before it ended, as SLURM's accounting would."""
        word = ending.word if ending.word in interruptions.WORDS.values() else "TIMEOUT"
        self.history.append(f"{word}|{self.started:.0f}|{time.time():.0f}\n")
        self.attempt += 1
        print(f"forgia: start {self.attempt} of job {self.job_id}", flush=True)
        private_directory(self.paths.attempt(self.attempt))
        write_atomic(self.paths.history(self.attempt), "".join(self.history))

    def say_last_word(self) -> None:
        """What a lost rank left for the journal, as nothing goes on after it."""
        for line in read_lines(self.paths.last_word(self.attempt)):
            append_line(self.paths.journal, line, sync=True)

    def start_tasks(self) -> None:
        """One process a rank, its output in the attempt's folder."""
        private_directory(self.paths.attempt(self.attempt))
        link = self.paths.submission / f"{self.pid}_submitted.pkl"
        link.unlink(missing_ok=True)
        link.symlink_to(TASK_FILE)
        self.started, self.failed = time.time(), None
        self.tasks = [self.start_task(rank) for rank in range(self.ntasks)]

    def start_task(self, rank: int) -> subprocess.Popen[bytes]:
        """One rank, in the session of the job, so that nothing of it is elsewhere."""
        variables = {
            ATTEMPT_VARIABLE: str(self.attempt),
            END_VARIABLE: f"{self.started + self.timeout_s:.0f}",
            "SUBMITIT_LOCAL_JOB_ID": self.pid,
            "SUBMITIT_LOCAL_LOCALID": str(rank),
            "SUBMITIT_LOCAL_GLOBALID": str(rank),
        }
        out, err = self.paths.stdout(self.attempt, rank), self.paths.stderr(self.attempt, rank)
        with out.open("ab") as stdout, err.open("ab") as stderr:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **variables},
                cwd=self.paths.root,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def watch(self) -> Ending:
        """Until every rank is gone: warn before the time limit, stop all at it, when asked, or when one has failed.

        What a person wants to be interrupted is interrupted on the way.
        """
        started = time.monotonic()
        warning, limit = started + self.timeout_s - self.signal_delay_s, started + self.timeout_s
        patience = float("inf")
        while self.any_alive():
            now = time.monotonic()
            if self.stop_asked:
                self.stop_tasks()
                return Ending(word="CANCELLED", reason="it was cancelled")
            if now > limit:
                self.stop_tasks()
                return Ending(word="TIMEOUT", reason="it reached its time limit")
            if now > warning:
                warning = float("inf")
                self.signal_tasks(signal.SIGUSR2)
            if (due := self.agenda.due(self.attempt)) and self.is_listening() and (ending := self.interrupt(due)):
                return ending
            if any(task.returncode for task in self.tasks):
                patience = min(patience, now + FAILURE_GRACE_S)
            if now > patience:
                self.stop_tasks()
                break
            time.sleep(TICK_S)
        return Ending(word="CANCELLED", reason="it was cancelled") if self.stop_asked else self.first_failure()

    def is_listening(self) -> bool:
        """The ranks of this attempt have met, so that none is deaf any more."""
        lines = Journal(self.paths).read()
        return any(line.get("event") == State.RUNNING and line.get("attempt") == self.attempt for line in lines)

    def interrupt(self, due: Interruption) -> Ending | None:
        """Do it; the end of the attempt, unless the ranks were only given notice."""
        self.agenda.tick_off(self.attempt)
        if due.kind == interruptions.WARN:
            self.signal_tasks(signal.SIGUSR2)
            return None
        if due.kind == interruptions.PREEMPT:
            self.stop_tasks()
        self.kill_tasks()
        return Ending(word=due.word, reason="it was interrupted on purpose")

    def any_alive(self) -> bool:
        """Some rank still runs; looks at every one, for an exit code is only known once it was asked for."""
        codes = [task.poll() for task in self.tasks]
        if self.failed is None:
            failed = [rank for rank, code in enumerate(codes) if code]
            self.failed = min(failed, key=lambda rank: codes[rank] or 0, default=None)  # a killed one first
        return None in codes

    def first_failure(self) -> Ending:
        """The end of the rank that was first to end, and not well; else a good end."""
        if self.failed is None or not (found := self.tasks[self.failed].returncode):
            return Ending(word="COMPLETED", exit_code=0)
        code, number = (found, None) if found > 0 else (None, -found)
        how = f"with exit code {code}" if code else f"by signal {number}"
        print(f"forgia: {socket.gethostname()}: task {self.failed}: {told(found)}", flush=True)
        return Ending(word="FAILED", reason=f"rank {self.failed} ended {how}", exit_code=code, signal=number)

    def stop_tasks(self) -> None:
        """Ask, wait, kill."""
        self.signal_tasks(signal.SIGTERM)
        limit = time.monotonic() + GRACE_S
        while self.any_alive() and time.monotonic() < limit:
            time.sleep(TICK_S)
        self.kill_tasks()

    def kill_tasks(self) -> None:
        """Leave none."""
        self.signal_tasks(signal.SIGKILL)
        for task in self.tasks:
            task.wait()

    def signal_tasks(self, number: signal.Signals) -> None:
        """Send a signal to the ranks that still run."""
        for task in self.tasks:
            with contextlib.suppress(ProcessLookupError):
                task.send_signal(number)

    def place(self) -> Path:
        """The record of this job."""
        home = HomePaths(self.paths.root.parent.parent)
        return local_jobs.record_path(home, local_jobs.LocalJob(self.paths.root.name, self.submitted, self.job_id))

    @property
    def job_id(self) -> str:
        """Process id and start mark, as its submitter names it; that of its task in an array."""
        return os.environ.get(JOB_VARIABLE) or f"{self.pid}-{processes.start_mark(int(self.pid))}"

    def record(self, ending: Ending) -> None:
        """Say how it ended, before anyone can see that it has."""
        fields = {"word": ending.word, "reason": ending.reason, "exit_code": ending.exit_code, "signal": ending.signal}
        write_atomic(self.place(), json.dumps({**fields, "attempt": self.attempt}) + "\n")

    def _note_stop(self, *_: object) -> None:
        self.stop_asked = True


def told(code: int) -> str:
    """How a rank ended, in the words of srun."""
    return f"Exited with exit code {code}" if code > 0 else str(signal.strsignal(-code))


def main(arguments: list[str]) -> None:
    """Control one job."""
    controller = RunController(RunPaths(Path(arguments[0]).parent.parent))
    private_directory(controller.place().parent)
    controller.place().touch(mode=file_mode(controller.place().parent))  # its submitter may not have lived to do it
    controller.run()


if __name__ == "__main__":
    main(sys.argv[1:])
