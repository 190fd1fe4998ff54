"""The node's side from a run folder to a release, in real processes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgia import digest
from forgia.dataset.manifest import Column, DataFile, Manifest
from forgia.paths import RunPaths
from forgia.registry.layout import OciLayout
from forgia.run import Journal, State
from forgia.store import read_lines

TASK = '''
"""A line and a square of each measurement; enough to learn from."""

import torch
from torch import nn
from torch.nn import functional

from forgia_jobs.judging import scores


class Tiny(nn.Module):
    def __init__(self, spec, params):
        super().__init__()
        self.register_buffer("mean", torch.tensor([f.mean for f in spec.numeric]))
        self.register_buffer("std", torch.tensor([f.std for f in spec.numeric]))
        self.sizes = [f.size for f in spec.categorical]
        self.hidden = nn.Linear(len(spec.numeric) + sum(self.sizes), params["width"])
        self.dropout = nn.Dropout(params.get("dropout", 0.0))
        self.out = nn.Linear(params["width"], 1)

    def forward(self, numeric, categorical):
        flat = [torch.nan_to_num((numeric - self.mean) / self.std)]
        flat += [functional.one_hot(categorical[:, n], size).float() for n, size in enumerate(self.sizes)]
        return self.out(self.dropout(torch.tanh(self.hidden(torch.cat(flat, dim=1))))).squeeze(1)


class Task:
    def model(self, spec, params):
        self.spec = spec
        return Tiny(spec, params)

    def loss(self, model, batch):
        answers = model(batch["numeric"], batch["categorical"])
        if self.spec.output == "value":
            losses = (answers - (batch["target"] - self.spec.target_mean) / self.spec.target_std) ** 2
        else:
            losses = functional.binary_cross_entropy_with_logits(answers, batch["target"], reduction="none")
        return (losses * batch["weight"]).mean()

    def predict(self, model, batch):
        answers = model(batch["numeric"], batch["categorical"])
        if self.spec.output == "value":
            return answers * self.spec.target_std + self.spec.target_mean
        return torch.sigmoid(answers)

    def metrics(self, predictions, targets):
        return scores.watched(self.spec.output, predictions, targets)

    def schedule(self, step, total_steps):
        return 1.0 - 0.5 * step / total_steps
'''

Change = Mapping[str, Any]


def write_dataset(folder: Path, *, owner: str = "mill", rows: int = 400, seed: int = 1) -> Path:
    """A dataset version whose failures follow from torque and wear; some values are missing."""
    generator = np.random.default_rng(seed)
    torque, wear = generator.normal(40, 10, rows), np.arange(rows) % 20 * 5.0
    grade = generator.choice(["L", "M", "H"], rows)
    failure = torque + wear / 4 + (grade == "L") * 4 + generator.normal(0, 2, rows) > 62
    table = pa.table(
        {
            "torque": pa.array(np.where(generator.random(rows) < 0.05, np.nan, torque), from_pandas=True),
            "tool_wear": wear,
            "product_grade": grade,
            "machine_failure": failure,
            "load": torque * 2 + wear,
        }
    )
    path = folder / "data" / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    kinds = {"product_grade": "category", "machine_failure": "boolean"}
    manifest = Manifest(
        name=folder.name,
        version=1,
        owner=owner,
        created="2026-11-22T10:00:00Z",
        files=(
            DataFile(path="data/part-00000.parquet", digest=digest.of_file(path), size=path.stat().st_size, rows=rows),
        ),
        columns=tuple(
            Column(name=name, source=name, kind=kinds.get(name, "number"), dtype=str(table.schema.field(name).type))
            for name in table.column_names
        ),
        rows=rows,
    )
    manifest.save(folder / "manifest.json")
    return folder


def request(recipe: Path, dataset: Path, changes: Mapping[str, Change], *, export: tuple[str, ...]) -> dict[str, Any]:
    """A complete request; ``changes`` lays fields over its sections."""
    manifest = Manifest.load(dataset / "manifest.json")
    columns = {"numeric": ["torque", "tool_wear"], "categorical": ["product_grade"], "target": "machine_failure"}
    sections: dict[str, Any] = {
        "recipe": {"name": "tiny", "version": "1.0.0", "title": "Tiny", "summary": "A test", "licence": "Apache-2.0"},
        "params": {"width": 8},
        "train": {
            "strategy": "ddp", "epochs": 5, "max_steps": None, "batch_size": 32, "learning_rate": 0.02,
            "weight_decay": 0.001, "gradient_clip": 1.0, "precision": "fp32", "class_weights": "none", "patience": 0,
            "checkpoint_every": 7, "seed": 3, "determinism": "D1",
        },
        "evaluate": {
            "metrics": ["f1", "average_precision", "brier"], "primary": "f1", "baseline": None, "gate": None,
        },
        "resources": {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1},
        "data": {
            "datasets": [
                {"name": manifest.name, "version": 1, "owner": manifest.owner, "digest": manifest.digest},
            ],
            "columns": {**columns, "group": None, "time": None, "episodes_of": "tool_wear"},
            "units": {"torque": "N.m", "tool_wear": "min"},
            "split": {"by": "group", "fractions": [0.6, 0.2, 0.2], "seed": 0},
        },
    }  # fmt: skip
    for section, values in changes.items():
        sections[section] = {**sections[section], **values}
    data = sections.pop("data")
    sections["recipe"].update(digest=digest.of_tree(recipe), task="task:Task")
    profile = {"name": "laptop", "scheduler": "local"}
    return {"schema_version": 1, **sections, "data": {"machines": data}, "export": list(export), "profile": profile}


def make_run(folder: Path, *, export: tuple[str, ...] = ("safetensors",), **changes: Change) -> RunPaths:
    """A run folder as a submitter leaves it."""
    dataset = folder / "mill-7"
    if not dataset.exists():
        write_dataset(dataset)
    paths = RunPaths(folder / f"tiny-{len([*folder.glob('tiny-*')])}")
    paths.recipe.mkdir(parents=True)
    (paths.recipe / "task.py").write_text(TASK)
    value = request(paths.recipe, dataset, changes, export=export)
    paths.request.write_text(json.dumps(value))
    (bound,) = value["data"]["machines"]["datasets"]
    paths.inputs.write_text(json.dumps({bound["digest"]: str(dataset)}))
    return paths


def start(paths: RunPaths, *, rank: int = 0, world_size: int = 1) -> subprocess.Popen[str]:
    """One rank, as a launcher starts it."""
    root = Path(__file__).parents[2]
    launcher = {"RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank)}
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SUBMITIT", "MASTER"))
    }
    environment.update(launcher, PYTHONPATH=os.pathsep.join(str(root / name) for name in ("src", "jobs")))
    return subprocess.Popen(
        [sys.executable, "-m", "forgia_jobs", str(paths.root)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(paths: RunPaths, *, world_size: int = 1) -> list[int]:
    """All ranks to their end; their exit codes."""
    ranks = [start(paths, rank=rank, world_size=world_size) for rank in range(world_size)]
    output = [rank.communicate(timeout=120)[0] for rank in ranks]
    codes = [rank.returncode for rank in ranks]
    print(*output, sep="\n")
    return codes


def train_here(paths: RunPaths) -> int:
    """One process's worth of training without starting one."""
    from forgia_jobs.attempt import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    mask = os.umask(0o022)
    try:
        return main(str(paths.root))
    finally:
        os.umask(mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def steps(paths: RunPaths) -> list[dict[str, Any]]:
    return [line for line in read_lines(paths.metrics) if line["kind"] == "step"]


def evaluation(paths: RunPaths) -> dict[str, Any]:
    return next(line for line in read_lines(paths.metrics) if line["kind"] == "evaluation")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Poll until the condition holds or the process has ended."""
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def test_a_run_ends_with_a_release_that_verifies(tmp_path: Path) -> None:
    paths = make_run(tmp_path, export=("safetensors", "onnx"), evaluate={"baseline": "gradient-boosted-trees"})
    assert train_here(paths) == 0
    status = Journal(paths).status()
    assert status.state is State.SUCCEEDED
    layout = OciLayout(paths.outbox)
    assert set(layout.tags()) == {paths.root.name}
    release = layout.resolve(paths.root.name)
    layout.verify(release)
    files = {entry.title for entry in layout.walk(release) if entry.title}
    assert {"model.safetensors", "model.onnx", "features.json", "metrics.json", "README.md"} <= files
    assert {"plots/training.png", "plots/precision-recall.png", "plots/calibration.png"} <= files
    assert evaluation(paths)["baseline"]["test"]["f1"] > 0
    assert evaluation(paths)["model"]["test"]["average_precision"] > 0.8


def test_an_attempt_after_the_release_only_says_that_it_is_there(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    assert train_here(paths) == 0
    before = paths.metrics.read_bytes()
    assert train_here(paths) == 0
    assert paths.metrics.read_bytes() == before
    assert [line["attempt"] for line in Journal(paths).read() if line["event"] == "succeeded"] == [1, 2]


def test_two_runs_of_one_request_give_the_same_tensors(tmp_path: Path) -> None:
    first, second = make_run(tmp_path), make_run(tmp_path)
    assert train_here(first) == train_here(second) == 0
    assert evaluation(first)["tensors_digest"] == evaluation(second)["tensors_digest"]
    assert steps(first) == steps(second)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run with dropout, so that the state of the generators counts, too."""
    paths = make_run(tmp_path_factory.mktemp("whole"), params={"dropout": 0.2})
    assert train_here(paths) == 0
    return paths


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(min_value=1, max_value=35))
def test_a_run_killed_at_any_step_and_resumed_equals_one_that_was_not(
    step: int, uninterrupted: RunPaths, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = make_run(tmp_path_factory.mktemp("killed"), params={"dropout": 0.2})
    process = start(paths)
    wait_for(lambda: len(steps(paths)) >= step, process)
    process.kill()
    process.communicate()
    if not paths.outbox.exists():
        assert train_here(paths) == 0
    assert [line["step"] for line in steps(paths)] == list(range(1, len(steps(uninterrupted)) + 1))
    assert steps(paths) == steps(uninterrupted)
    assert evaluation(paths)["tensors_digest"] == evaluation(uninterrupted)["tensors_digest"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR2, 75), (signal.SIGTERM, 0)])
def test_a_signal_stops_cleanly_and_the_next_attempt_goes_on(
    number: signal.Signals, code: int, uninterrupted: RunPaths, tmp_path: Path
) -> None:
    paths = make_run(tmp_path, params={"dropout": 0.2})
    process = start(paths)
    wait_for(lambda: len(steps(paths)) >= 3, process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    line = Journal(paths).read()[-1]
    assert line["event"] == "checkpointed"
    assert number.name in line["reason"]
    assert train_here(paths) == 0
    assert Journal(paths).status().attempt == 2
    assert evaluation(paths)["tensors_digest"] == evaluation(uninterrupted)["tensors_digest"]


def test_a_broken_checkpoint_is_set_aside_for_the_one_before(uninterrupted: RunPaths, tmp_path: Path) -> None:
    paths = make_run(tmp_path, params={"dropout": 0.2})
    assert train_here(paths) == 0
    newest = max(paths.checkpoints.glob("step-*"))
    weights = newest / "rank-00000.safetensors"
    with weights.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"bad")
    for path in sorted(paths.outbox.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    paths.outbox.rmdir()
    assert train_here(paths) == 0
    notes = [line["text"] for line in Journal(paths).read() if line["event"] == "note"]
    assert any("set aside" in note for note in notes)
    assert any(note.startswith("resumed at step") for note in notes)
    assert evaluation(paths)["tensors_digest"] == evaluation(uninterrupted)["tensors_digest"]


def test_one_and_two_processes_give_the_same_losses(tmp_path: Path) -> None:
    changes: dict[str, Change] = {"train": {"batch_size": 33, "epochs": 7, "max_steps": 50}}  # 33: uneven shares
    alone = make_run(tmp_path, **changes)
    assert train_here(alone) == 0
    both = make_run(tmp_path, **changes, resources={"tasks_per_node": 2})
    assert train(both, world_size=2) == [0, 0]
    first, second = ([line["loss"] for line in steps(paths)] for paths in (alone, both))
    assert len(first) == len(second) == 50
    assert max(abs(a - b) for a, b in itertools.zip_longest(first, second)) < 1e-5
    assert Journal(both).status().state is State.SUCCEEDED


def test_a_rank_without_rows_takes_part(tmp_path: Path) -> None:
    changes: dict[str, Change] = {"train": {"batch_size": 1, "epochs": 1, "max_steps": 5}}
    alone, both = make_run(tmp_path, **changes), make_run(tmp_path, **changes, resources={"tasks_per_node": 2})
    assert train_here(alone) == 0
    assert train(both, world_size=2) == [0, 0]
    assert [line["loss"] for line in steps(alone)] == pytest.approx([line["loss"] for line in steps(both)], abs=1e-5)


def test_two_worlds_of_one_are_an_error_and_not_two_runs(tmp_path: Path) -> None:
    paths = make_run(tmp_path, resources={"tasks_per_node": 2})
    assert train(paths) == [1]
    status = Journal(paths).status()
    assert status.state is State.FAILED
    assert "1 process(es) were launched together" in status.reason


def test_a_changed_data_file_is_refused_before_training(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    with (tmp_path / "mill-7" / "data" / "part-00000.parquet").open("ab") as file:
        file.write(b"!")
    assert train_here(paths) == 1
    assert "is not what its digest says" in Journal(paths).status().reason
    assert not paths.metrics.exists()


def test_a_changed_recipe_is_refused_before_its_code_runs(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    (paths.recipe / "task.py").write_text("raise SystemExit('ran')")
    assert train_here(paths) == 1
    assert "recipe" in Journal(paths).status().reason


def test_a_model_below_the_gate_is_not_released(tmp_path: Path) -> None:
    paths = make_run(tmp_path, evaluate={"gate": {"metric": "f1", "minimum": 1.1, "baseline_margin": None}})
    assert train_here(paths) == 1
    status = Journal(paths).status()
    assert status.state is State.FAILED
    assert status.reason.startswith("gate: f1 ")
    assert not paths.outbox.exists()


def test_a_numeric_target_is_learnt_as_a_value(tmp_path: Path) -> None:
    columns = {"numeric": ["torque", "tool_wear"], "categorical": [], "target": "load", "episodes_of": "tool_wear"}
    judged = {"metrics": ["mae", "rmse", "r2"], "primary": "r2", "baseline": "gradient-boosted-trees"}
    paths = make_run(tmp_path, data={"columns": columns}, evaluate=judged, train={"epochs": 20})
    assert train_here(paths) == 0
    assert evaluation(paths)["model"]["test"]["r2"] > 0.8


def test_balanced_weights_and_an_early_stop_are_obeyed(tmp_path: Path) -> None:
    paths = make_run(tmp_path, train={"class_weights": "balanced", "patience": 1, "epochs": 40, "learning_rate": 0.2})
    assert train_here(paths) == 0
    epochs = [line for line in read_lines(paths.metrics) if line["kind"] == "epoch"]
    assert epochs[-1]["epoch"] == epochs[-1]["best_epoch"] + 1 < 40


def test_what_one_rank_finds_wrong_ends_all_of_them_with_its_reason(tmp_path: Path) -> None:
    paths = make_run(tmp_path, resources={"tasks_per_node": 2})
    (paths.recipe / "more.py").write_text("")
    assert train(paths, world_size=2) == [1, 1]
    status = Journal(paths).status()
    assert status.state is State.FAILED
    assert "recipe" in status.reason
    assert "is not what its digest says" in status.reason
