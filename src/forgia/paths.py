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

    def dataset(self, name: str, version: int) -> DatasetPaths:
        """The folder of one version of a dataset."""
        return DatasetPaths(self.datasets / checked_name("dataset", name) / str(version))

    def sample(self, name: str) -> Path:
        """Which datasets a sample generator's files became."""
        return self.datasets / f".{checked_name('sample dataset', name)}.json"

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
    def request(self) -> Path:
        """The resolved request; its digest is the run's identity."""
        return self.root / "request.json"

    @property
    def inputs(self) -> Path:
        """Where the data named in the request lies on this machine; not part of the identity."""
        return self.root / "inputs.json"

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
    def attempts(self) -> Path:
        """One folder an attempt, counted from 1."""
        return self.root / "attempts"

    def attempt(self, number: int) -> Path:
        """Logs of one attempt."""
        return self.attempts / str(number)

    def claim(self, attempt: int) -> Path:
        """Which job has an attempt: whoever made this link first."""
        return self.attempt(attempt) / CLAIM

    def stdout(self, attempt: int, rank: int) -> Path:
        """What a rank printed."""
        return self.attempt(attempt) / f"rank-{rank}.out"

    def stderr(self, attempt: int, rank: int) -> Path:
        """What a rank complained of."""
        return self.attempt(attempt) / f"rank-{rank}.err"
