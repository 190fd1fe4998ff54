"""Data prepared by jobs of a real SLURM: the same bytes as on this machine, and no job left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab import SlurmLab

from forgia import samples
from forgia.catalogue import Catalogue


def forgia(*arguments: str | Path) -> str:
    argv = [sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_jobs_prepare_the_bytes_that_this_machine_prepares(
    slurm_lab: SlurmLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export = samples.generate(Catalogue().generator("three-firms"), tmp_path)[0]
    forgia("dataset", "add", "alfa", export)
    forgia("init", "mine", "--from", "predictive-maintenance", "--data", "alfa")
    prepare = ("dataset", "prepare", "mine", "--workers", "2", "--json")
    told = json.loads(forgia(*prepare, "--profile", "slurm-local"))
    assert told["is_new"]
    found = contents(Path(told["folder"]))
    jobs = subprocess.run(
        ["sacct", "--noheader", "--parsable2", "--allocations", "--name=forgia-prepare", "--format=State"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(jobs.stdout.split("\n")) >= 2
    assert "forgia-prepare" not in subprocess.run(["squeue"], capture_output=True, text=True, check=True).stdout
    assert not (Path(os.environ["HOME"]) / ".config" / "dask").exists()
    forgia("dataset", "prepare", "mine", "--remove")
    again = json.loads(forgia(*prepare))
    assert (again["is_new"], again["folder"]) == (True, told["folder"])
    assert contents(Path(again["folder"])) == found
