"""Ranks that ray starts, on this machine: they learn what they learn without it, and nothing of ray stays behind."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgia.client import Client
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.store import read_json, read_lines

SMALL = (
    *("evaluate.gate=null", "evaluate.baseline=null", "resources.tasks_per_node=2", "resources.cpus_per_task=1"),
    *("train.epochs=40", "train.checkpoint_every=50", "train.patience=0"),
)
PATIENCE_S = 240.0


def begin(*sets: str, **options: Any) -> RunPaths:
    client = Client()
    plan = client.plan("predictive-maintenance", sets=(*SMALL, *sets), test=True)
    return client.home.run(client.start(plan, again=True, **options).run_id)


def until(condition: Callable[[], Any], *, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def ended(paths: RunPaths) -> State:
    *_, last = Client().wait(paths.root.name)
    return last.state


def steps(paths: RunPaths) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_lines(paths.metrics) if line.get("kind") == "step"]


def tensors(paths: RunPaths) -> str:
    return next(line["tensors_digest"] for line in read_lines(paths.metrics) if line.get("kind") == "evaluation")


def processes(word: str, *, of: str) -> list[int]:
    """Those with a word in their command line and another in their environment."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdecimal() and word in (place / "cmdline").read_text(errors="replace"):
                found += [int(place.name)] if of in (place / "environ").read_text(errors="replace") else []
        except OSError:
            continue
    return found


def shared_memory() -> set[str]:
    return {place.name for place in Path("/dev/shm").iterdir() if "plasma" in place.name or "ray" in place.name}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place of the test's own for temporary files; nothing of ray is there, or running, when it ends."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        shared = shared_memory()
        yield
        until(lambda: not processes("", of=f"TMPDIR={place}\0"), what="a process is left")
        assert not list(Path(place).glob("forgia-ray-*")), "a temporary folder is left"
        assert {
            place.name for place in Path("/dev/shm").iterdir() if "plasma" in place.name or "ray" in place.name
        } <= shared
        assert not (Path(os.environ["HOME"]) / ".ray").exists()


@pytest.mark.slow
def test_two_jobs_at_once_learn_what_they_learn_without_ray_whatever_happens_to_one(home: HomePaths) -> None:
    plain = begin("train.strategy=ddp")
    assert ended(plain) is State.SUCCEEDED
    left_alone, disturbed = begin("train.strategy=ray"), begin("train.strategy=ray", interrupt_at="1s")
    stopped = until(lambda: told(disturbed, event="checkpointed"), what="no stop")
    assert (stopped["signal"], stopped["attempt"], stopped["step"] > 0) == ("SIGUSR2", 1, True)
    until(lambda: told(disturbed, event="running", attempt=2), what="no second attempt")
    goal = steps(disturbed)[-1][0] + 60
    until(lambda: steps(disturbed)[-1][0] > goal, what="no further steps")
    os.kill(process_of(disturbed, rank=1), signal.SIGKILL)
    for paths in (disturbed, left_alone):
        assert ended(paths) is State.SUCCEEDED, Journal(paths).read()
        assert tensors(paths) == tensors(plain)
    assert steps(left_alone) == steps(plain)
    assert told(disturbed, restart=1, attempt=2), "ray has started the ranks again"
    assert len([line for line in Journal(disturbed).read() if line.get("resumed")]) == 2
    assert "epoch 40" in left_alone.stdout(1, 0).read_text()
    until(lambda: read_json(left_alone.ray).get("over"), what="not over")
    assert "token" not in read_json(left_alone.ray)
    until(lambda: not left_alone.ray_notes(1).exists(), what="ray's notes are left")


def told(paths: RunPaths, **fields: Any) -> dict[str, Any]:
    lines = [line for line in Journal(paths).read() if all(line.get(key) == value for key, value in fields.items())]
    return lines[-1] if lines else {}


def process_of(paths: RunPaths, *, rank: int) -> int:
    (found,) = [
        pid
        for pid in processes("forgia_jobs.under_ray.ray_process", of=f"SUBMITIT_LOCAL_GLOBALID={rank}\0")
        if str(paths.root) in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return found
