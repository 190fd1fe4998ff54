"""Data prepared by Dask's workers, and what a training makes of it, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import forgia
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.run import Journal, statuses
from forgia.store import read_lines
from forgia_jobs.preparation import preparing, preparing_workers

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("--test", *(f"--set={item}" for item in ("train.epochs=1", "params.members=1", "params.width=8")))
PROGRAM = Path(__file__).with_name("preparing_program.py")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def last_run(home: HomePaths) -> tuple[str, list[str]]:
    """The tensors' digest and the notes of the newest run."""
    paths = home.run(max(statuses(home), key=lambda found: found.submitted).run_id)
    (digest,) = [line["tensors_digest"] for line in read_lines(paths.metrics) if "tensors_digest" in line]
    return digest, [line["text"] for line in Journal(paths).read() if "prepared data" in line.get("text", "")]


def order_of(plan: Plan, home: Path) -> dict[str, Any]:
    asked = {name: plan.request[name] for name in ("data", "resources", "profile")}
    return {**asked, "places": plan.inputs, "home": str(home), "scheduler": "local", "workers": 2}


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Path]:
    """Prepares in this process, without Dask."""
    monkeypatch.setattr(preparing_workers, "executor", lambda _wanted, _folder: ThreadPoolExecutor(1))
    return lambda order: Path(preparing.prepare(order, lambda _word: None)["folder"])


@pytest.mark.slow
def test_a_model_of_prepared_data_is_the_model_of_the_data_itself(
    mine: Command, home: HomePaths, in_threads: Callable[[dict[str, Any]], Path]
) -> None:
    folder = in_threads(order_of(forgia.Client().plan(), home.root))
    before = contents(folder)
    spoilt = folder / "numeric.arrow"
    spoilt.write_bytes(spoilt.read_bytes()[:-100] + bytes(100))
    mine("run", *SMALL)
    known, (note,) = last_run(home)
    assert "read the datasets" in note and "numeric.arrow" in note
    done = mine("dataset", "prepare", "--workers", "2", "--json")
    assert "it is made again" in done.stderr
    assert json.loads(done.stdout)["is_new"]
    assert contents(folder) == before
    assert not (Path(os.environ["HOME"]) / ".config" / "dask").exists()
    mine("run", *SMALL, "--again")
    digest, (note,) = last_run(home)
    assert digest == known
    assert note == f"mapped prepared data ({folder})"


@pytest.mark.slow
def test_workers_that_are_killed_change_no_byte(
    mine: Command, home: HomePaths, tmp_path: Path, in_threads: Callable[[dict[str, Any]], Path]
) -> None:
    plan = forgia.Client().plan()
    before = in_threads(order_of(plan, home.root))
    order, marks = tmp_path / "order.json", tmp_path / "marks"
    order.write_text(json.dumps(order_of(plan, tmp_path / "other")))
    marks.mkdir()
    argv = [sys.executable, str(PROGRAM), str(order), str(marks)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list(marks.iterdir())) == 2
    assert contents(Path(json.loads(done.stdout)["folder"])) == contents(before)


@pytest.mark.slow
def test_an_interrupted_preparation_leaves_nothing_behind(mine: Command, home: HomePaths) -> None:
    argv = [sys.executable, "-m", "forgia_cli.main", "dataset", "prepare", "--workers", "2"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as program:
        deadline = time.monotonic() + 120
        while not list(home.prepared.glob(".*/*/certificate.pem")):
            assert time.monotonic() < deadline and program.poll() is None
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=120)
    assert program.returncode == 130, said
    assert "Traceback" not in said
    assert list(home.prepared.iterdir()) == []
    mine_still = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(home.prepared) not in mine_still
