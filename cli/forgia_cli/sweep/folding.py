"""Runs as lines of a list, the members of a sweep as one."""

from __future__ import annotations

from collections.abc import Iterable

from forgia import sweep as sweeps
from forgia.paths import HomePaths
from forgia.run import RunStatus
from forgia_cli.sweep.following import standing

Line = tuple[str, str, int | None, str, str | None, str, str]
"""Run, state, attempt, profile, job, time, result."""


def lines(home: HomePaths, found: Iterable[RunStatus], *, unfold: bool) -> list[Line]:
    """A line a run in the order given; members of a sweep are one line, where the first of them stands."""
    sweep_of = {} if unfold else {run_id: sweep.id for sweep in sweeps.sweeps(home) for run_id in sweep.run_ids}
    groups: dict[str, list[RunStatus]] = {}
    for status in found:
        groups.setdefault(sweep_of.get(status.run_id, status.run_id), []).append(status)
    return [
        line_of(group[0]) if group[0].run_id == name else line_of_sweep(name, group) for name, group in groups.items()
    ]


def shortened(text: str, *, width: int = 60) -> str:
    """A text that fits, with a sign where some of it is left out."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def line_of(status: RunStatus) -> Line:
    """One run."""
    planned, result = status.planned[:19].replace("T", " "), status.version or shortened(status.reason)
    return status.run_id, str(status.state), status.attempt, status.profile, status.job_id, planned, result


def line_of_sweep(sweep_id: str, group: list[RunStatus]) -> Line:
    """One sweep: how many of its members stand where, and the job of the newest."""
    newest, versions = group[0], [status.version for status in group if status.version]
    job = newest.job_id.rpartition("_")[0] or newest.job_id if newest.job_id else None
    planned = newest.planned[:19].replace("T", " ")
    found = ", ".join([*versions[:3], *(["…"] if len(versions) > 3 else [])])
    return sweep_id, standing(s.state for s in group), None, newest.profile, job, planned, found
