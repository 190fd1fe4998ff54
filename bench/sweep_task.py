"""One task of ``bench/sweep.py``: as little work as a run can be, with a figure that only its own parameters give."""

from __future__ import annotations

import os
from pathlib import Path

from forgia import store
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia.sweep import EVALUATION


def figure(point: int) -> float:
    """What a point has to come out as."""
    return (point * 7919 % 1009) / 1009


def main(run_dir: str) -> int:
    """Say that it runs, write the figure, say that it has succeeded."""
    paths = RunPaths(Path(run_dir))
    journal, attempt = Journal(paths), int(os.environ["FORGIA_ATTEMPT"])
    journal.record(State.RUNNING, by="job", attempt=attempt, pid=os.getpid())
    value = figure(store.read_json(paths.request)["params"]["point"])
    figures = {"validation": {"f1": value}, "test": {"f1": value}}
    store.append_line(paths.metrics, {"kind": EVALUATION, "model": figures}, sync=False)
    journal.record(State.SUCCEEDED, by="job", attempt=attempt)
    return 0
