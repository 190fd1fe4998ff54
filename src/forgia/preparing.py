"""Data made ready for training by a program of its own, with as many workers as one likes; here it is started.

What is made is a cache: a run finds it by itself, and without it reads the datasets as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from forgia.errors import ClusterError, ForgiaError
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.schedulers import script
from forgia.store import private_directory, write_json

PROGRAM = ("-m", "forgia_jobs.preparation.preparing")
PATIENCE_S = 20.0
"""For the program to end its workers and take away what is half made, once it was interrupted."""
LAST_LINES = 5
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What lies there now."""

    folder: str
    is_new: bool = False
    """False where it was there already, and whole."""
    is_removed: bool = False
    bytes: int = 0
    rows: int = 0
    """Of the matrices."""
    samples: int = 0
    numeric: int = 0
    """Columns."""
    categorical: int = 0
    """Columns."""


def prepare(home: HomePaths, plan: Plan, *, workers: int | None, remove: bool, tell: Tell) -> Prepared:
    """Make the prepared data of a plan, or take it away. Interrupted, it leaves nothing behind.

    Args: workers — None: as many as this machine has cores and memory for; tell — hears ``done`` and ``of``, or a
    ``warning``. Raises: ForgiaError — why not.
    """
    request = plan.request
    order = {
        "data": request["data"],
        "places": plan.inputs,
        "home": str(home.root),
        "scheduler": request["profile"]["scheduler"],
        "profile": request["profile"],
        "resources": request["resources"],
        "workers": workers,
        "remove": remove,
    }
    private_directory(home.prepared)
    with tempfile.TemporaryDirectory(prefix="forgia-prepare-") as place:
        path = Path(place) / "order.json"
        write_json(path, order)
        return _heard([*shlex.split(script.interpreter(request["profile"])), *PROGRAM, str(path)], Path(place), tell)


def _heard(argv: list[str], place: Path, tell: Tell) -> Prepared:
    """Run the program to its end and pass on what it tells. Raises: ForgiaError — its own, or that it broke."""
    last: dict[str, Any] = {}
    with (place / "stderr").open("w+b") as errors:
        try:
            # In a session of its own: an interrupt reaches it once, from us, and its workers not at all.
            program = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except FileNotFoundError as error:
            raise ClusterError(f"{argv[0]}: no such program on this machine", transient=False) from error
        with program, _ended(program):
            for line in program.stdout or ():
                with contextlib.suppress(ValueError):
                    last = json.loads(line)
                    tell(last)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if "error" in last:
        raise _told(last)
    if program.returncode or "folder" not in last:
        words = "\n".join(said[-LAST_LINES:]) or f"it ended with {program.returncode}"
        raise ForgiaError(f"{' '.join(argv[:3])} broke:\n{words}")
    known = {item.name for item in fields(Prepared)}
    return Prepared(**{name: value for name, value in last.items() if name in known})


@contextlib.contextmanager
def _ended(program: subprocess.Popen[bytes]) -> Any:
    """Whatever happens in the block, the program has ended after it: asked first, then made to."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            program.send_signal(signal.SIGINT)
            try:
                program.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
        raise


def _told(value: Mapping[str, Any]) -> ForgiaError:
    """The program's failure as ours, with its exit code."""
    error = ForgiaError(str(value["error"]), hint=value.get("hint"))
    error.exit_code = int(value.get("code", 1))
    return error
