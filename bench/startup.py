"""Start-up of the command line: seconds and file system calls beside ``import submitit``, in one run.

python bench/startup.py
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
RUNS = 1000


def seconds(argv: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


def file_calls(argv: list[str], environment: dict[str, str]) -> int | None:
    """System calls that take a file name, children included; None without strace."""
    if not shutil.which("strace"):
        return None
    with tempfile.NamedTemporaryFile() as file:
        traced = ["strace", "-f", "-qq", "-e", "trace=%file", "-o", file.name, *argv]
        subprocess.run(traced, env=environment, check=True, capture_output=True)
        return len(Path(file.name).read_text(errors="replace").splitlines())


def make_runs(home: Path) -> None:
    """A home with many ended runs, as a team has after a year."""
    from forgia.paths import HomePaths
    from forgia.run import Journal, State

    paths = HomePaths(home)
    for number in range(RUNS):
        run = paths.run(f"mill-failures-{number:010x}")
        run.root.mkdir(parents=True)
        Journal(run).record(State.PLANNED, by="submitter", attempt=1, profile="laptop")
        Journal(run).record(State.FAILED, by="job", attempt=1, reason="made for this measurement")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        make_runs(Path(place))
        environment = {**os.environ, "FORGIA_HOME": place}
        forgia = shutil.which("forgia", path=str(Path(sys.executable).parent)) or "forgia"
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import submitit": [sys.executable, "-c", "import submitit"],
            "forgia --help": [forgia, "--help"],
            f"forgia job list ({RUNS} runs)": [forgia, "job", "list"],
        }
        for argv in commands.values():
            seconds(argv, environment)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):  # in turns, so that a noisy minute hits all alike
            for name, argv in commands.items():
                times[name].append(seconds(argv, environment))
        reference = statistics.median(times["import submitit"])
        print(f"{'command':32} {'median s':>9} {'min s':>7} {'ratio to submitit':>18} {'file calls':>11}")
        for name, argv in commands.items():
            median = statistics.median(times[name])
            calls = file_calls(argv, environment)
            print(f"{name:32} {median:9.3f} {min(times[name]):7.3f} {median / reference:18.2f} {calls or '–':>11}")


if __name__ == "__main__":
    main()
