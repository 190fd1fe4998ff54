"""A rank, or a point of a sweep, as a process of its own below one of ray's.

So it has a main thread that hears signals, an exit code, and connections that close when it ends, as it has without
ray. Run as ``python -m forgia_jobs.under_ray.ray_process RUN_DIR SIGNAL [LAUNCH]``; it gets the signal when who started
it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from forgia_jobs.under_ray import ray_cluster, ray_keeper

LOOK_EVERY_S = 0.1


def start(
    arguments: Sequence[str], *, output: IO[Any], complaints: IO[Any], environment: Mapping[str, str] = os.environ
) -> subprocess.Popen[bytes]:
    """Start one; from the thread that waits for it, for with that thread it ends."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "forgia_jobs.under_ray.ray_process", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=complaints,
        cwd=arguments[0],
        env=environment,
    )


def watch(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """Wait for its end, coming back now and then; a signal that has come to the task here is passed on once."""
    passed_on = ""
    while process.poll() is None:
        time.sleep(LOOK_EVERY_S)
        name = signal_in(folder)
        if name != passed_on:
            process.send_signal(signal.Signals[name])
            passed_on = name
        yield


def signal_in(folder: Path) -> str:
    """The name of the signal that has come to the task; empty while none has."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / ray_cluster.STOP).read_text(encoding="utf-8").strip()
    return ""


def main(run_dir: str, end: str, launch: str = "") -> int:
    """Run one rank of one attempt and return its exit code; what the keeper blocks waits until the attempt listens."""
    ray_keeper.prctl(ray_keeper.PR_SET_PDEATHSIG, signal.Signals[end])
    from forgia_jobs import attempt

    return attempt.main(run_dir, launch=launch)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
