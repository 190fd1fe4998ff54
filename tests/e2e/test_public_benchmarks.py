"""From files in the form of public benchmarks to a model and its answers to new files, as a user would do it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from forgia.paths import HomePaths
from forgia.scoring import load_release

DATASETS = Path(__file__).parents[2] / "datasets"


def generate(name: str, folder: Path, *arguments: str) -> None:
    argv = [sys.executable, str(DATASETS / name / "generate.py"), "--out", str(folder), *arguments]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


@pytest.fixture
def forgia(forgia_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command that has to go well, in a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: str | Path) -> Any:
        done = forgia_command(*arguments)
        assert done.exit_code == 0, done.output
        return done

    return run


@pytest.mark.slow
def test_a_file_of_engines_is_answered_as_in_the_evaluation(forgia: Any, home: HomePaths, tmp_path: Path) -> None:
    generate("engines", tmp_path / "nasa", "--cmapss", "--engines", "6")
    forgia("dataset", "add", "engines", tmp_path / "nasa" / "train_FD002.txt", "--format", "cmapss")
    forgia("init", "rul", "--from", "remaining-useful-life", "--data", "engines")
    forgia("run", "./rul", "--test", "--set", "train.epochs=1", "--set", "width=4")
    figures = load_release(home, "local", "rul").metrics
    assert figures["split"]["test"] == {**figures["split"]["test"], "rows": 6, "groups": 6}
    test = tmp_path / "nasa" / "test_FD002.txt"
    forgia("predict", "rul", test, "--format", "cmapss", "-o", "scored.parquet")
    table = pq.read_table("scored.parquet")
    assert table.num_rows == len(test.read_text().splitlines())
    unit = np.array(table.column("machine_id").to_pylist())
    ends = np.append(unit[1:] != unit[:-1], True)
    truth = np.minimum([float(line) for line in (tmp_path / "nasa" / "RUL_FD002.txt").read_text().split()], 125)
    found = table.column("prediction").to_numpy()[ends]
    rmse = float(np.sqrt(((found - truth) ** 2).mean()))
    assert rmse == pytest.approx(figures["evaluation"]["model"]["test"]["rmse"], rel=1e-4)


@pytest.mark.slow
def test_runs_that_are_files_with_and_without_labels_are_pooled(forgia: Any, home: HomePaths, tmp_path: Path) -> None:
    generate("pump-loop", tmp_path / "loop", "--benchmark", "--runs", "6")
    labelled = sorted(path for path in (tmp_path / "loop").iterdir() if path.name != "anomaly-free")
    said = ("--file-column", "run_id", "--keep-unbound")
    forgia("dataset", "add", "loop", *labelled, *said)
    forgia("dataset", "add", "normal", tmp_path / "loop" / "anomaly-free", *said)
    forgia("init", "pump", "--from", "anomaly-detection", "--data", "loop", "--data", "normal")
    forgia("run", "./pump", "--test", "--set", "train.epochs=1")
    model = load_release(home, "local", "pump")
    assert [feature.name for feature in model.spec.numeric][:3] == [
        "accelerometer_1_rms",
        "accelerometer_2_rms",
        "current_unbound",
    ]
    assert {part: about["groups"] for part, about in model.metrics["split"].items()} == {
        "train": 7,
        "validation": 2,
        "test": 3,
    }
    new = tmp_path / "loop" / "inlet" / "alfa-01.csv"
    done = forgia("predict", "pump", new, "-o", "scored.parquet")
    assert "the input has no run_id: its rows are read as one history" in done.output
    table = pq.read_table("scored.parquet")
    assert table.num_rows == len(new.read_text().splitlines()) - 1
    assert table.column("prediction").null_count == 0
    higher = pc.greater_equal(table.column("prediction"), model.spec.threshold)
    assert table.column("predicted").to_pylist() == higher.to_pylist()
