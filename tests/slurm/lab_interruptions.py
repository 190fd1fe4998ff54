"""A two-node training that is interrupted in every way a cluster has, again and again, and what it lost each time."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from lab import SlurmLab, wait_for

from forgia.client import Client
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.store import read_lines

PAIRS = ("n1,n2", "n3,n4")
"""Nodes of the lab on which a training can be interrupted without another one noticing."""
PAUSE = '''

class Unhurried(PredictiveMaintenance):
    """The same, but slow enough to be interrupted on purpose, and idle meanwhile."""

    def loss(self, model, batch):
        time.sleep({pause_s})
        return super().loss(model, batch)
'''
TRAINING = (
    *("train.epochs=2000", "train.batch_size=64", "train.patience=0", "evaluate.gate=null", "evaluate.baseline=null"),
    *("resources.nodes=2", "resources.gpus_per_node=0", "resources.memory_gb=1", "resources.walltime=01:00:00"),
)
CHECKPOINT_EVERY = 10
LEAD_S = 60
ATTEMPT_TIMEOUT_S = 240


def recipe_with_pause(source: Path, folder: Path, *, pause_s: float) -> Path:
    """A copy of a recipe whose steps take their time."""
    place = folder / f"unhurried-{pause_s}"
    shutil.copytree(source, place)
    task, written = place / "task.py", place / "recipe.yaml"
    code = task.read_text().replace("import math\n", "import math\nimport time\n")
    task.write_text(code + PAUSE.format(pause_s=pause_s))
    text = written.read_text().replace("task: task:PredictiveMaintenance", "task: task:Unhurried")
    written.write_text(text.replace("name: predictive-maintenance", "name: unhurried"))
    return place


def submit(client: Client, recipe: Path, *, steps: int, nodes: str | None, sets: Sequence[str] = ()) -> RunPaths:
    """Send the training to nodes and a partition where it can be interrupted; None: anywhere, to be left alone."""
    victim = {"partition": "low", "extra_sbatch": {"nodelist": nodes}} if nodes else {}
    profile = client.open_profile("slurm-local").model_copy(update={"signal_lead_s": LEAD_S, **victim})
    own = (f"train.max_steps={steps}", f"train.checkpoint_every={CHECKPOINT_EVERY}")
    plan = client.plan(recipe, profile=profile, sets=(*TRAINING, *own, *sets), test=True)
    return client.home.run(client.start(plan).run_id)


def running(paths: RunPaths) -> list[dict[str, Any]]:
    """The journal's beginnings of attempts."""
    return [line for line in Journal(paths).read() if line["event"] == State.RUNNING and line["by"] == "job"]


def notes(paths: RunPaths, field: str) -> list[dict[str, Any]]:
    """The job's notes that have this field."""
    return [line for line in Journal(paths).read() if line["event"] == "note" and field in line]


def steps_told(paths: RunPaths) -> int:
    """The last step in the metrics."""
    return max((int(line.get("step", 0)) for line in read_lines(paths.metrics)), default=0)


def await_progress(paths: RunPaths, attempt: int, *, steps: int = 3) -> None:
    """Until this attempt has done so many steps."""

    def has_worked() -> bool:
        resumed = [line["step"] for line in notes(paths, "resumed") if line["attempt"] == attempt]
        is_begun = bool(resumed) if attempt > 1 else bool(running(paths))
        if is_begun and steps_told(paths) >= sum(resumed) + steps:
            return True
        status = Journal(paths).status()
        assert not status.state.is_final, status
        return False

    wait_for(has_worked, ATTEMPT_TIMEOUT_S, f"attempt {attempt} to work; {Journal(paths).read()[-3:]}")


# Interruptions


def preempt(lab: SlurmLab, job_id: str, _turn: int) -> None:
    """A job of the partition with priority wants the nodes."""
    flags = ("--partition=main", "--exclusive", "--mem=100M", "--time=1", "--output=/dev/null", "--wrap=true")
    lab.run("sbatch", f"--nodelist={nodes_of(lab, job_id)}", *flags)


def reach_time_limit(lab: SlurmLab, job_id: str, _turn: int) -> None:
    """The job's end comes near; SLURM looks at time limits twice a minute."""
    lab.run("scontrol", "update", f"jobid={job_id}", f"endtime=now+{LEAD_S - 15}seconds")


def lose_node(lab: SlurmLab, job_id: str, turn: int) -> None:
    """One node after the other has a power cut, that of the leader and of the batch script too."""
    node = lab.run("scontrol", "show", "hostnames", nodes_of(lab, job_id)).split()[turn % 2]
    lab.cut_power(node)
    lab.restore_power(node)


def nodes_of(lab: SlurmLab, job_id: str) -> str:
    """Where the job runs."""
    return lab.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%N").strip()


KINDS: dict[str, Callable[[SlurmLab, str, int], None]] = {
    "preemption": preempt,
    "time_limit": reach_time_limit,
    "node_failure": lose_node,
}
MOST_LOST = {"preemption": 1, "time_limit": 1, "node_failure": 2 * CHECKPOINT_EVERY}
"""Steps that may have to be done again; a checkpoint that was in the making when its node was lost does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provoked:
    """An interruption that is on its way."""

    paths: RunPaths
    kind: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One interruption and its price."""

    kind: str
    cause: str
    """As the next attempt found out."""
    lost_steps: int
    seconds: float
    """Until the next attempt worked."""

    @property
    def is_as_promised(self) -> bool:
        """Its cause was found, and no more was lost than may be."""
        return self.cause == self.kind and self.lost_steps <= MOST_LOST[self.kind]


def provoke(lab: SlurmLab, paths: RunPaths, kind: str, *, turn: int = 0) -> Provoked:
    """Interrupt the attempt that works."""
    attempt, at = running(paths)[-1]["attempt"], time.monotonic()
    KINDS[kind](lab, Journal(paths).status().job_id or "", turn)
    return Provoked(paths=paths, kind=kind, attempt=attempt, at=at)


def settle(provoked: Provoked) -> Outcome:
    """Wait until the next attempt works, and see what it says of the one before."""
    paths, attempt = provoked.paths, provoked.attempt
    await_progress(paths, attempt + 1)
    cause = next(line["cause"] for line in notes(paths, "cause") if line["ended"] == attempt)
    resumed = next(line for line in notes(paths, "resumed") if line["attempt"] == attempt + 1)
    seconds = time.monotonic() - provoked.at
    return Outcome(kind=provoked.kind, cause=cause, lost_steps=resumed["lost_steps"], seconds=seconds)


def interrupt(lab: SlurmLab, paths: RunPaths, kind: str, *, turn: int = 0) -> Outcome:
    """Interrupt the attempt that works, and wait until the next one does."""
    return settle(provoke(lab, paths, kind, turn=turn))


@contextlib.contextmanager
def without_user_signal(lab: SlurmLab) -> Iterator[None]:
    """A cluster that preempts with SIGTERM to the steps alone."""
    conf = lab.root / "etc/slurm.conf"
    text = conf.read_text()
    conf.write_text(text.replace("SlurmctldParameters=preempt_send_user_signal\n", ""))
    lab.run("scontrol", "reconfigure")
    try:
        yield
    finally:
        conf.write_text(text)
        lab.run("scontrol", "reconfigure")


def tensors(client: Client, paths: RunPaths) -> str:
    """The digest of what was learnt, once the run has succeeded."""
    for status in client.wait(paths.root.name):
        found = status
    assert found.state.is_success, (found, Journal(paths).read())
    return next(line["tensors_digest"] for line in read_lines(paths.metrics) if line["kind"] == "evaluation")


def home_of(folder: Path) -> Client:
    """A client with a home of its own."""
    from forgia.settings import Settings

    return Client(Settings(home=HomePaths(folder / "home")))
