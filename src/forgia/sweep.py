"""A sweep: its points, the run of each, and the table of what came of them.

The table knows nothing of how points were run: a result is values, a figure and a state, whoever made them.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from forgia.errors import NotFound
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, RunStatus, State
from forgia.store import private_directory, read_json, read_lines, write_json

SCHEMA_VERSION = 1
GIVEN_UP = "given up early"
"""How the reason of a point begins that was not worth its time."""
EVALUATION = "evaluation"
"""Kind of the line of a run's metrics that holds its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One point and its run."""

    run_id: str
    identity: str
    """Digest of the run's request."""
    values: dict[str, Any]
    """What varies, by the path that ``--set`` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What was asked for; written before anything is sent."""

    id: str
    recipe: str
    version: str
    profile: str
    scheduler: str
    primary: str
    """The metric that decides."""
    is_lower_better: bool
    members: tuple[Member, ...]
    created: str
    """ISO 8601, UTC."""
    parallel: int | None = None
    """So many members at once."""
    array_size: int
    """Members in one array job, at most."""
    most_open: int | None = None
    """Members in the queue at once, at most."""
    collects_all: bool = False
    """Every release goes to the registry, not the best alone."""
    job: str = ""
    """The run whose one job tries all points; empty: each has its own, of an array."""

    @property
    def run_ids(self) -> list[str]:
        """In the order of the points."""
        return [member.run_id for member in self.members]

    @property
    def axes(self) -> list[str]:
        """Paths of what varies."""
        return list(self.members[0].values)

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Sweep:
        """The inverse of ``to_json``."""
        fields = {key: item for key, item in value.items() if key != "schema_version"}
        return cls(**{**fields, "members": tuple(Member(**member) for member in fields["members"])})


def save(home: HomePaths, sweep: Sweep) -> None:
    """Write a sweep down."""
    paths = home.sweep(sweep.id)
    private_directory(paths.root)
    write_json(paths.record, sweep.to_json())


def load(home: HomePaths, sweep_id: str) -> Sweep:
    """A sweep by its whole id. Raises: NotFound."""
    record = home.sweep(sweep_id).record
    if not record.is_file():
        raise NotFound("sweep", sweep_id, known=sweep_ids(home), hint="forgia sweep list")
    return Sweep.from_json(read_json(record))


def sweep_ids(home: HomePaths) -> list[str]:
    """Every sweep, by name."""
    if not home.sweeps.is_dir():
        return []
    with os.scandir(home.sweeps) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and home.sweep(entry.name).record.is_file())


def open_sweep(home: HomePaths, name: str) -> Sweep:
    """The sweep of this id, or of the only id that begins so; ``last`` is the newest. Raises: NotFound."""
    known = sweep_ids(home)
    if name == "last" and known:
        return max((load(home, sweep_id) for sweep_id in known), key=lambda sweep: sweep.created)
    found = [name] if name in known else [sweep_id for sweep_id in known if sweep_id.startswith(name)]
    if len(found) != 1:
        several = f"{len(found)} sweeps begin so: {', '.join(found[:5])}" if found else None
        none = "forgia sweep list" if known else "there are no sweeps yet; forgia sweep RECIPE --over NAME=VALUES"
        raise NotFound("sweep", name, known=known, hint=several or none)
    return load(home, found[0])


def sweeps(home: HomePaths) -> Iterator[Sweep]:
    """Every sweep, by name."""
    return (load(home, sweep_id) for sweep_id in sweep_ids(home))


def unregistered(home: HomePaths) -> set[str]:
    """Runs whose release stays in their folder unless somebody asks: the sweep registers its best. Its job has none."""
    every = list(sweeps(home))
    members = {run_id for sweep in every if not sweep.collects_all for run_id in sweep.run_ids}
    return members | {sweep.job for sweep in every}


# The table


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one point."""

    values: dict[str, Any]
    state: State
    chosen_by: float | None = None
    """The primary metric on the validation part, which chooses: the test part is for telling only."""
    test: float | None = None
    """The primary metric on the test part."""
    run_id: str = ""
    reason: str = ""
    version: str | None = None
    """In the registry, if it is there."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def results(home: HomePaths, sweep: Sweep) -> list[Result]:
    """What came of each point so far, in their order; reads journals and metrics, asks no scheduler."""
    statuses = (Journal(home.run(member.run_id)).status() for member in sweep.members)
    return [
        result_of(home.run(member.run_id), member, status, sweep.primary)
        for member, status in zip(sweep.members, statuses, strict=True)
    ]


def result_of(paths: RunPaths, member: Member, status: RunStatus, primary: str) -> Result:
    """One member's result."""
    figures = evaluation(paths).get("model", {}) if status.state.is_final else {}
    return Result(
        values=member.values,
        state=status.state,
        chosen_by=number(figures.get("validation", {}).get(primary)),
        test=number(figures.get("test", {}).get(primary)),
        run_id=member.run_id,
        reason=status.reason,
        version=status.version,
    )


def evaluation(paths: RunPaths) -> dict[str, Any]:
    """A run's latest figures; empty while it has none."""
    lines = [line for line in read_lines(paths.metrics) if line.get("kind") == EVALUATION]
    return lines[-1] if lines else {}


def number(value: Any) -> float | None:
    """A figure, if it is one: NaN never wins."""
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def best(found: Iterable[Result], *, is_lower_better: bool) -> Result | None:
    """The result that wins, the first of equals; None while there is none with a release and a figure."""
    able = [result for result in found if result.state.is_success and result.chosen_by is not None]
    sign = -1 if is_lower_better else 1
    return max(able, key=lambda result: sign * (result.chosen_by or 0.0), default=None)


def counts(states: Iterable[State]) -> dict[State, int]:
    """How many stand where, in the order of a run's life."""
    found = Counter(states)
    return {state: found[state] for state in State if found[state]}


def rows(found: Sequence[Result]) -> list[tuple[Any, ...]]:
    """Number, values, figures, state, run: as ``headers`` names them."""
    return [
        (index, *result.values.values(), result.chosen_by, result.test, str(result.state), result.run_id)
        for index, result in enumerate(found)
    ]


def headers(axes: Sequence[str], primary: str) -> tuple[str, ...]:
    """Names of the columns; a parameter of the task goes by its own name."""
    names = [axis.removeprefix("params.") for axis in axes]
    return ("point", *names, f"{primary} (validation)", f"{primary} (test)", "state", "run")
