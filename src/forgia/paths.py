"""Where things lie: the one module that spells a path below forgia's home."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from forgia.errors import UserError

NAME = re.compile(r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$")
"""Names of recipes, datasets, models and organisations: what an OCI repository name allows in one component.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (pull)
"""

CLAIM = "claim"
"""In an attempt's folder: a link whose target names the job that has the attempt. Batch scripts make it too."""
HISTORY = "job-history"
"""In an attempt's folder: how the job's earlier attempts ended, ``<state>|<start>|<end>`` a line, as sacct says it."""
LAST_FACTS = "job-facts"
"""In an attempt's folder: what SLURM said of the job when its ranks had gone."""
SLOWEST = "slowest.json"
"""Among the checkpoints: how long the slowest of them took."""
LAST_WORD = "last-word.jsonl"
"""In an attempt's folder: a line for the journal, should nothing go on after this attempt."""


def checked_name(kind: str, name: str) -> str:
    """The name itself. Raises: UserError — it could leave its folder or an OCI registry would refuse it."""
    if not NAME.fullmatch(name) or len(name) > 64:
        raise UserError(
            f"{kind} name {name!r}: use lower-case letters, digits and single . _ - between them, at most 64 characters"
        )
    return name


@dataclass(frozen=True, slots=True)
class HomePaths:
    """Forgia's home folder: shared data, runs and the local registry."""

    root: Path

    @property
    def config(self) -> Path:
        """The user's own settings, hand-written TOML."""
        return self.root / "config.toml"

    @property
    def datasets(self) -> Path:
        """One folder a dataset, one folder a version below it."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.root / "runs"

    @property
    def settled_runs(self) -> Path:
        """One line a run that has ended: a cache of the journals, so that a list of thousands opens one file."""
        return self.runs / "settled.jsonl"

    @property
    def local_jobs(self) -> Path:
        """What the local scheduler knows of its jobs."""
        return self.runs / ".local"

    @property
    def fake_jobs(self) -> Path:
        """What the fake scheduler knows of its jobs."""
        return self.runs / ".fake-scheduler.json"

    @property
    def environments(self) -> Path:
        """Packed Python environments, each one file, and what they are made of."""
        return self.root / "environments"

    @property
    def prepared(self) -> Path:
        """Prepared data, one folder each: a cache of what is made from datasets."""
        return self.root / "prepared"

    @property
    def registry(self) -> Path:
        """``<organisation>/<kind>/<name>``; each leaf is one OCI image layout."""
        return self.root / "registry"

    @property
    def quota(self) -> Path:
        """Budgets: the ledger of a team that has none elsewhere, and what is asked of the accounting."""
        return self.root / "quota"

    @property
    def ledger(self) -> Path:
        """The embedded ledger, a SQLite database."""
        return self.quota / "ledger.db"

    @property
    def settled_until(self) -> Path:
        """Cluster and account → until when the accounting has been settled; without it a window is only longer."""
        return self.quota / "settled-until.json"

    @property
    def told_alerts(self) -> Path:
        """Ledger → which alerts its staff here has been told, and on which day."""
        return self.quota / "told-alerts.json"

    @property
    def sweeps(self) -> Path:
        """One folder a sweep."""
        return self.root / "sweeps"

    def sweep(self, sweep_id: str) -> SweepPaths:
        """The folder of a sweep."""
        return SweepPaths(self.sweeps / checked_name("sweep", sweep_id))

    def dataset(self, name: str, version: int) -> DatasetPaths:
        """The folder of one version of a dataset."""
        return DatasetPaths(self.datasets / checked_name("dataset", name) / str(version))

    def sample(self, name: str) -> Path:
        """Which datasets a sample generator's files became."""
        return self.datasets / f".{checked_name('sample dataset', name)}.json"

    def environment(self, digest: str) -> Path:
        """The manifest of the environment made of what this digest names."""
        return self.environments / f"{digest.removeprefix('sha256:')}.json"

    def environment_archive(self, digest: str) -> Path:
        """The one file, named by its bytes, that holds an environment."""
        return self.environments / f"{digest.removeprefix('sha256:')}.tar.gz"

    def prepared_data(self, digest: str) -> Path:
        """The prepared data made of what this digest names."""
        return self.prepared / digest.removeprefix("sha256:")

    def run(self, run_id: str) -> RunPaths:
        """The folder of a run."""
        return RunPaths(self.runs / checked_name("run", run_id))

    def repository(self, organisation: str, kind: str, name: str) -> Path:
        """The OCI image layout of one model, recipe or dataset."""
        return self.registry / checked_name("organisation", organisation) / kind / checked_name(kind, name)


@dataclass(frozen=True, slots=True)
class DatasetPaths:
    """One immutable version of a dataset."""

    root: Path

    @property
    def manifest(self) -> Path:
        """What the dataset is made of; its digest names the version."""
        return self.root / "manifest.json"

    @property
    def croissant(self) -> Path:
        """The same for other people's tools: Croissant 1.1."""
        return self.root / "croissant.json"

    @property
    def data(self) -> Path:
        """Parquet files."""
        return self.root / "data"

    @property
    def rejects(self) -> Path:
        """Rows that did not parse, with line number and reason (CSV)."""
        return self.root / "rejects.csv"

    @property
    def profile(self) -> Path:
        """The profile report as JSON."""
        return self.root / "profile.json"

    @property
    def report(self) -> Path:
        """The profile report as an HTML page."""
        return self.root / "profile.html"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """One run: everything it was asked, everything it said, everything it made."""

    root: Path

    @property
    def home(self) -> HomePaths:
        """The home in which the run's folder lies."""
        return HomePaths(self.root.parent.parent)

    @property
    def request(self) -> Path:
        """The resolved request; its digest is the run's identity."""
        return self.root / "request.json"

    @property
    def inputs(self) -> Path:
        """Where the data named in the request lies on this machine; not part of the identity."""
        return self.root / "inputs.json"

    @property
    def tariff(self) -> Path:
        """What the run asks of a budget at worst; not part of the identity."""
        return self.root / "tariff.json"

    @property
    def environment(self) -> Path:
        """Which bytes the environment of the run is, where it is not the submitter's own."""
        return self.root / "environment.json"

    @property
    def unpacking(self) -> Path:
        """The program that enters that environment on a node."""
        return self.root / "unpacking.py"

    @property
    def excluded_nodes(self) -> Path:
        """Nodes that preflight found bad, a line each."""
        return self.root / "excluded-nodes"

    @property
    def recipe(self) -> Path:
        """The frozen copy of the recipe's folder."""
        return self.root / "recipe"

    @property
    def journal(self) -> Path:
        """States and facts, appended by submitter and job: the truth about the run."""
        return self.root / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a submitter changes the run."""
        return self.root / ".lock"

    @property
    def submission(self) -> Path:
        """Submitit's folder of this run."""
        return self.root / "submission"

    @property
    def checkpoints(self) -> Path:
        """Collective checkpoints, one folder each, published by rename."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Progress and metrics, one JSON line each."""
        return self.root / "metrics.jsonl"

    @property
    def outbox(self) -> Path:
        """The release, an OCI image layout, waiting to be collected."""
        return self.root / "outbox"

    @property
    def ray(self) -> Path:
        """Where the job's own ray cluster listens, and the token that admits to it; for the user's eyes alone."""
        return self.root / ".ray.json"

    @property
    def attempts(self) -> Path:
        """One folder an attempt, counted from 1."""
        return self.root / "attempts"

    def attempt(self, number: int) -> Path:
        """Logs of one attempt."""
        return self.attempts / str(number)

    def claim(self, attempt: int) -> Path:
        """Which job has an attempt: whoever made this link first."""
        return self.attempt(attempt) / CLAIM

    def array(self, attempt: int) -> Path:
        """Of which array the attempt is a member: a link whose target says it."""
        return self.attempt(attempt) / "array"

    def reason(self, attempt: int, rank: int) -> Path:
        """Why a rank ended badly, when and on which host."""
        return self.attempt(attempt) / f"rank-{rank}.reason"

    def reasons(self, attempt: int) -> list[Path]:
        """The reasons that ranks of an attempt have left."""
        return sorted(self.attempt(attempt).glob("rank-*.reason"))

    def ray_notes(self, attempt: int) -> Path:
        """What ray writes down for its own use while an attempt goes on."""
        return self.attempt(attempt) / "ray"

    def batch_log(self, attempt: int) -> Path:
        """What the batch script and its launcher said; the scheduler goes on with it when it starts a job again."""
        return self.attempt(attempt) / "batch.log"

    def history(self, attempt: int) -> Path:
        """How the job's earlier attempts ended, in its scheduler's words."""
        return self.attempt(attempt) / HISTORY

    def last_facts(self, attempt: int) -> Path:
        """What the scheduler said of the job when the ranks of this attempt had gone."""
        return self.attempt(attempt) / LAST_FACTS

    def last_word(self, attempt: int) -> Path:
        """What the journal is to hear if nothing goes on after this attempt."""
        return self.attempt(attempt) / LAST_WORD

    @property
    def slowest_checkpoint(self) -> Path:
        """How long the slowest checkpoint took, in seconds."""
        return self.checkpoints / SLOWEST

    @property
    def interruptions(self) -> Path:
        """When the local scheduler is to interrupt the run; for trying out what a cluster would do."""
        return self.root / "interrupt-at.json"

    def stdout(self, attempt: int, rank: int) -> Path:
        """What a rank printed."""
        return self.attempt(attempt) / f"rank-{rank}.out"

    def stderr(self, attempt: int, rank: int) -> Path:
        """What a rank complained of."""
        return self.attempt(attempt) / f"rank-{rank}.err"


@dataclass(frozen=True, slots=True)
class SweepPaths:
    """One sweep: which points it has. What became of them is in their runs."""

    root: Path

    @property
    def record(self) -> Path:
        """The points in their order, with the run of each."""
        return self.root / "sweep.json"

    @property
    def lock(self) -> Path:
        """Held while members are sent."""
        return self.root / ".lock"

    @property
    def arrays(self) -> Path:
        """One folder an array job, counted from 1."""
        return self.root / "arrays"

    def array(self, number: int) -> ArrayPaths:
        """The folder of one array job."""
        return ArrayPaths(self.arrays / str(number))


@dataclass(frozen=True, slots=True)
class ArrayPaths:
    """One array job: which of its tasks is which run."""

    root: Path

    @property
    def members(self) -> Path:
        """Run and attempt of each task, a line a task; the last file that is written before the scheduler hears."""
        return self.root / "members"

    @property
    def script(self) -> Path:
        """The batch script of every task."""
        return self.root / "job.sh"

    @property
    def log(self) -> Path:
        """What was said before a task knew its run."""
        return self.root / "batch.log"

    def cancelled(self, index: int) -> Path:
        """There when a task is not wanted any more; for a scheduler that has no other way to be told."""
        return self.root / f"cancelled-{index}"
