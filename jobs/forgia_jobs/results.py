"""From trained weights to the files of a release: judged, exported, described."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forgia import store
from forgia.dataset.dataset import Dataset
from forgia.store import read_lines
from forgia_jobs import baseline, card, export, loop, plots
from forgia_jobs.data import Data, describe, owners
from forgia_jobs.determinism import tensor_digest
from forgia_jobs.evaluate import Evaluation, Predictions, evaluate
from forgia_jobs.request import Request, Resources
from forgia_jobs.task import TrainingTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network with its best weights, and what is known of its making."""

    task: TrainingTask
    model: nn.Module
    data: Data
    training: Mapping[str, Any]
    determinism: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The tensor digest of the weights."""
        return tensor_digest(self.model.state_dict())


def judge(trained: Trained, request: Request) -> tuple[Evaluation, Predictions, Predictions | None]:
    """Measure model and baseline; their predictions come along for the pictures."""
    data = trained.data
    device = next(trained.model.parameters()).device
    model: dict[str, Any] = {}
    for part in ("validation", "test"):
        model[part] = loop.predict(trained.task, trained.model, _features(data.tensors(part, device=device))).numpy()
    name, seed = request.evaluate.baseline, request.train.seed
    other = baseline.predictions(name, data, seed=seed) if name else None
    return evaluate(data, model, other, settings=request.evaluate, seed=seed), model, other


def write_model(folder: Path, trained: Trained, request: Request, evaluation: Evaluation) -> float | None:
    """The weights in the formats asked for, and the features; returns the difference between ONNX and torch."""
    store.private_directory(folder)
    spec = trained.data.spec.with_threshold(evaluation.model.threshold)
    store.write_json(folder / "features.json", spec.to_json())
    model = trained.model.to("cpu").eval()
    about = {"format": "pt", "request": request.identity, "tensors": trained.digest}
    export.write_safetensors(folder / "model.safetensors", model, about=about)
    if "onnx" not in request.export:
        return None
    path, inputs = folder / "model.onnx", _features(trained.data.tensors("test", device=torch.device("cpu")))
    export.write_onnx(path, trained.task, model, sample=inputs)
    expected = loop.predict(trained.task, model, inputs).numpy()
    return export.check_onnx(path, inputs, expected=expected, is_probability=spec.output == "probability")


def write_plots(
    folder: Path, metrics: Path, evaluation: Evaluation, *, data: Data, model: Predictions, other: Predictions | None
) -> list[Path]:
    """The card's pictures."""
    store.private_directory(folder)
    plots.draw_training(folder / "training.png", read_lines(metrics))
    truth = data.targets("test").astype(np.float64)
    if data.spec.output == "value":
        rest = plots.draw_values(folder, targets=truth, model=model, unit=data.spec.target_unit)
    else:
        rest = plots.draw_probabilities(folder, evaluation=evaluation, targets=truth, model=model, baseline=other)
    return [folder / "training.png", *rest]


def write_papers(folder: Path, facts: card.Facts) -> None:
    """metrics.json and the card."""
    value = {
        "schema_version": 1,
        "run": facts.run_id,
        "request": facts.request.identity,
        "evaluation": facts.evaluation.to_json(),
        "baseline_name": facts.request.evaluate.baseline,
        "split": describe(facts.data),
        "rows_by_owner": owners(facts.data),
        "training": dict(facts.training),
        "cost": dict(facts.cost),
        "determinism": dict(facts.determinism),
        "tensors_digest": facts.tensor_digest,
        "onnx_max_abs_difference": facts.onnx_difference,
    }
    store.write_json(folder / "metrics.json", value)
    (folder / "README.md").write_text(card.render(facts), encoding="utf-8")


def cost(resources: Resources, *, wall_seconds: float, train_seconds: float) -> dict[str, float]:
    """What this attempt has used so far, as the scheduler counts: what was reserved, not what was busy."""
    hours = wall_seconds / 3600
    return {
        "wall_seconds": round(wall_seconds, 3),
        "train_seconds": round(train_seconds, 3),
        "core_h": hours * resources.world_size * resources.cpus_per_task,
        "gpu_h": hours * resources.nodes * resources.gpus_per_node,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def dataset_manifests(datasets: list[Dataset]) -> list[Any]:
    """The manifests, in the request's order."""
    return [dataset.manifest for dataset in datasets]


def _features(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("numeric", "categorical")}
