"""What a recipe's author writes, and how it is found."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.request import Train

Batch = Mapping[str, Tensor]
"""Samples by what is known of them; the first dimension counts them. Predictions get neither target nor weight.

rows: ``numeric`` (batch, features) float32 in the spec's units, NaN where missing; ``categorical`` (batch, features)
int64.
windows: ``numeric`` (batch, length, features), the oldest row first; ``categorical`` (batch, features) of the last row.
images: ``image`` (batch, channels, size, size) float32 from 0 to 1; the target is the position of the class.
tokens: ``tokens``, ``positions`` and ``next`` (batch, context) int64; the target counts the tokens to foretell.
``target`` (batch, ...), ``weight`` (batch,) float32 with a mean near 1."""
PACKAGE = "forgia_recipe"
"""The recipe's folder under this name, so that its modules import each other with a leading dot and hide nobody's."""


class TrainingTask(Protocol):
    """A problem in plain torch; the class is made without arguments.

    ``loss`` and ``predict`` call the model and look at nothing else of it: what they are given may be a wrapper around
    the network, and between two calls its parameters may lie on other ranks.
    Optional methods, used where present: ``optimizer(model, train) -> torch.optim.Optimizer`` (default AdamW);
    ``schedule(step, total_steps) -> float``, a factor on the learning rate (default 1); ``write(folder, model)``, the
    files of a release that hold the weights (default ``model.safetensors``); for models of text
    ``answers(model, questions) -> list[list[int]]``, the tokens said to each (``samples.tokens.Question``).
    """

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, its weights drawn from torch's generator."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean over the batch's rows of a loss times ``batch["weight"]``: a scalar."""
        ...

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Probabilities, or values in the target's unit.

        Shapes: (rows,); of classes (rows, classes).
        """
        ...

    def metrics(self, predictions: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]) -> dict[str, float]:
        """Figures of the validation part after each epoch; the first one decides which weights are the best."""
        ...


def load_task(folder: Path, reference: str) -> TrainingTask:
    """Import the class that ``module:Class`` names in a recipe's folder, whose digest has been checked before.

    Raises: UserError — it cannot be imported or lacks a method.
    """
    name, _, class_name = reference.partition(":")
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    for known in [known for known in sys.modules if known == PACKAGE or known.startswith(PACKAGE + ".")]:
        del sys.modules[known]
    sys.modules[PACKAGE] = package
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the frozen copy stays as it is
    try:
        task = getattr(importlib.import_module(f"{PACKAGE}.{name}"), class_name)()
    except (ImportError, SyntaxError, AttributeError, TypeError) as error:
        raise UserError(f"recipe task {reference} cannot be made from {folder}: {error}") from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
    if missing := [method for method in ("model", "loss", "predict", "metrics") if not hasattr(task, method)]:
        raise UserError(f"recipe task {reference} lacks {', '.join(missing)}")
    return cast(TrainingTask, task)


def make_optimizer(task: TrainingTask, model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """The task's own optimizer, or AdamW with the request's settings."""
    own = getattr(task, "optimizer", None)
    if own is not None:
        return cast(torch.optim.Optimizer, own(model, train))
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learnt, lr=train.learning_rate, weight_decay=train.weight_decay)


def learning_rate_factor(task: TrainingTask, step: int, total_steps: int) -> float:
    """What the task's schedule makes of the learning rate at this step; 1 without one."""
    own = getattr(task, "schedule", None)
    return float(own(step, total_steps)) if own is not None else 1.0
