"""From trained weights to the files of a release: judged, exported, described."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forgia import store
from forgia.dataset.dataset import Dataset
from forgia.store import read_lines
from forgia_jobs import predicting
from forgia_jobs.determinism import tensor_digest
from forgia_jobs.judging import baseline
from forgia_jobs.judging.evaluate import Evaluation, Predictions, evaluate
from forgia_jobs.request import Evaluate, Request
from forgia_jobs.samples.data import Data, describe, owners
from forgia_jobs.task import TrainingTask
from forgia_jobs.telling import card, class_plots, export, forecast_plots, plots
from forgia_jobs.telling.card_facts import Facts

BOUNDED = ("probability", "classes")
"""Outputs between 0 and 1, whose ONNX answers are held to an absolute tolerance."""


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
    """Measure model and baselines; predictions of the model and of the best baseline come along for the pictures."""
    data, seed, settings = trained.data, request.train.seed, applicable(request.evaluate, trained.data)
    model = predictions(trained, trained.model, settings)
    others = {name: compared(name, trained, request, settings) for name in settings.baselines}
    found = evaluate(data, model, others, settings=settings, seed=seed)
    return found, model, others.get(found.baseline_name or "")


def applicable(settings: Evaluate, data: Data) -> Evaluate:
    """The settings without the figures that this data has nothing for. Raises: UserError — one of them decides."""
    if data.spec.output != "tokens":
        return settings
    from forgia_jobs.judging import answering  # what reads text is no part of every installation

    return answering.askable(settings, data)


def predictions(trained: Trained, model: nn.Module, settings: Evaluate) -> dict[str, Any]:
    """What a network of the task says of the validation and test parts."""
    data, device = trained.data, next(model.parameters()).device
    found: dict[str, Any] = {}
    for part in ("validation", "test"):
        found[part] = predicting.predict(trained.task, model, data.samples(part, device=device)).numpy()
    if not hasattr(trained.task, "answers"):
        return found
    from forgia_jobs.judging import answering

    if not answering.FIGURES.intersection(settings.metrics):
        return found
    model.eval()
    said = functools.partial(trained.task.answers, model)
    return {part: answering.with_answers(found[part], data, part, answer=said) for part in found}


def compared(name: str, trained: Trained, request: Request, settings: Evaluate) -> dict[str, Any]:
    """The same of a baseline."""
    if name != baseline.UNTRAINED:
        return baseline.predictions(name, trained.data, seed=request.train.seed)
    fresh = trained.task.model(trained.data.spec, request.given)
    return predictions(trained, fresh.to(next(trained.model.parameters()).device), settings)


def write_model(folder: Path, trained: Trained, request: Request, evaluation: Evaluation) -> float | None:
    """The weights in the formats asked for, and the features; returns the difference between ONNX and torch."""
    store.private_directory(folder)
    spec = trained.data.spec.with_threshold(evaluation.model.threshold)
    store.write_json(folder / "features.json", spec.to_json())
    model = trained.model.to("cpu").eval()
    about = {"format": "pt", "request": request.identity, "tensors": trained.digest}
    if hasattr(trained.data.source, "write"):
        trained.data.source.write(folder)
    if hasattr(trained.task, "write"):
        trained.task.write(folder, model)
    else:
        export.write_safetensors(folder / "model.safetensors", model, about=about)
    if "onnx" not in request.export:
        return None
    path, samples = folder / "model.onnx", trained.data.samples("test", device=torch.device("cpu"))
    inputs = samples.inputs(torch.arange(min(len(samples), samples.rows_at_once)))
    export.write_onnx(path, trained.task, model, sample=inputs)
    with torch.no_grad():
        expected = trained.task.predict(model, inputs).float().numpy()
    return export.check_onnx(path, inputs, expected=expected, is_probability=spec.output in BOUNDED)


def write_plots(
    folder: Path,
    metrics: Path,
    evaluation: Evaluation,
    *,
    data: Data,
    model: Predictions,
    other: Predictions | None,
    examples: int = 0,
) -> list[Path]:
    """The card's pictures. Args: examples — misjudged images to show."""
    store.private_directory(folder)
    plots.draw_training(folder / "training.png", read_lines(metrics))
    if data.spec.output == "quantiles":
        rest = forecast_plots.draw(folder, data, model=model, other=other, name=evaluation.baseline_name)
    else:
        truth = data.targets("test")
        rest = plots.draw(folder, data.spec, targets=truth, evaluation=evaluation, model=model, other=other)
    if examples and data.spec.samples["kind"] == "images":
        misjudged, chosen = folder / "misjudged.png", evaluation.model.threshold
        if class_plots.draw_misjudged(misjudged, data, model["test"], threshold=chosen, most=examples):
            rest = [*rest, misjudged]
    return [folder / "training.png", *rest]


def write_papers(folder: Path, facts: Facts) -> None:
    """metrics.json and the card."""
    value = {
        "schema_version": 1,
        "run": facts.run_id,
        "request": facts.request.identity,
        "evaluation": facts.evaluation.to_json(),
        "baseline_name": facts.evaluation.baseline_name,
        "split": describe(facts.data),
        "test_groups": list(facts.data.test_groups),
        "rows_by_owner": owners(facts.data),
        "training": dict(facts.training),
        "cost": dict(facts.cost),
        "determinism": dict(facts.determinism),
        "tensors_digest": facts.tensor_digest,
        "onnx_max_abs_difference": facts.onnx_difference,
    }
    store.write_json(folder / "metrics.json", value)
    (folder / "README.md").write_text(card.render(facts), encoding="utf-8")


def dataset_manifests(datasets: list[Dataset]) -> list[Any]:
    """The manifests, in the request's order."""
    return [dataset.manifest for dataset in datasets]
