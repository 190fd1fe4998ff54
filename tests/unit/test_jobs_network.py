"""The network of the recipe predictive-maintenance, and the files that any task's network becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from forgia import features
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.task import TrainingTask, load_task
from forgia_jobs.telling import export

RECIPE = Path(__file__).parents[2] / "recipes" / "predictive-maintenance"
PARAMS = {"width": 8, "depth": 2, "members": 3, "embedding": 4, "intervals": 6, "dropout": 0.0}


def table(rows: int = 60) -> pa.Table:
    generator = np.random.default_rng(0)
    torque = generator.normal(40, 10, rows)
    return pa.table(
        {
            "torque": pa.array(np.where(generator.random(rows) < 0.2, np.nan, torque), from_pandas=True),
            "still": np.ones(rows),
            "gone": pa.nulls(rows, pa.float64()),
            "grade": generator.choice(["L", "M"], rows),
            "failed": torque > 45,
            "load": torque * 100,
        }
    )


def spec(target: str = "failed", categorical: tuple[str, ...] = ("grade",)) -> FeatureSpec:
    return features.fit(table(), numeric=["torque", "still", "gone"], categorical=categorical, target=target)


def batch(of: FeatureSpec) -> dict[str, torch.Tensor]:
    target = features.targets(table(), of.target)
    matrices: dict[str, Any] = {**of.encode(table()), "target": target, "weight": np.ones(60, np.float32)}
    return {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}


@pytest.fixture
def task() -> TrainingTask:
    torch.manual_seed(0)
    return load_task(RECIPE, "task:PredictiveMaintenance")


def test_probabilities_are_between_0_and_1_whatever_is_missing(task: TrainingTask) -> None:
    model = task.model(spec(), PARAMS)
    inputs = {"numeric": torch.full((4, 3), float("nan")), "categorical": torch.zeros((4, 1), dtype=torch.int64)}
    inputs["numeric"][0] = 1e30
    found = task.predict(model, inputs)
    assert found.shape == (4,)
    assert bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("target", ["failed", "load"])
def test_a_few_steps_lower_the_loss(target: str, task: TrainingTask) -> None:
    rows, model = batch(spec(target)), task.model(spec(target), PARAMS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = task.loss(model, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.8


def test_every_parameter_learns(task: TrainingTask) -> None:
    model = task.model(spec(), PARAMS)
    task.loss(model, batch(spec())).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("target", "categorical"), [("failed", ("grade",)), ("load", ()), ("failed", ())])
def test_onnx_answers_as_torch_does_from_one_row_on(
    target: str, categorical: tuple[str, ...], task: TrainingTask, tmp_path: Path
) -> None:
    of = spec(target, categorical)
    model = task.model(of, PARAMS).eval()
    inputs = {name: tensor for name, tensor in batch(of).items() if name in ("numeric", "categorical")}
    export.write_onnx(tmp_path / "model.onnx", task, model, sample=inputs)
    for rows in (1, 2, 60):
        some = {name: tensor[:rows] for name, tensor in inputs.items()}
        with torch.no_grad():
            expected = task.predict(model, some).numpy()
        is_probability = target == "failed"
        export.check_onnx(tmp_path / "model.onnx", some, expected=expected, is_probability=is_probability)
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_equal_weights_give_equal_files(task: TrainingTask, tmp_path: Path) -> None:
    model = task.model(spec(), PARAMS)
    for name in ("a", "b"):
        export.write_safetensors(tmp_path / name, model, about={"request": "sha256:1", "format": "pt"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_task_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("class Half:\n    def model(self, spec, params): ...\n")
    with pytest.raises(UserError, match="lacks loss, predict, metrics"):
        load_task(tmp_path, "task:Half")
    with pytest.raises(UserError, match="cannot be made"):
        load_task(tmp_path, "task:Other")
