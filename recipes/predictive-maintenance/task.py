"""Failures, or a remaining condition, from a machine's measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.features import FeatureSpec
from forgia_jobs.judging import scores

from .network import TabularEnsemble


class PredictiveMaintenance:
    """A boolean target is learnt as a probability, a number as a value."""

    spec: FeatureSpec

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, with its first weights drawn from torch's generator."""
        self.spec = spec
        names = ("width", "depth", "members", "embedding", "intervals", "dropout")
        return TabularEnsemble(spec, **{name: params[name] for name in names})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Every member answers for itself; the mean over members, then over rows."""
        answers = model(batch["numeric"], batch["categorical"])
        target = batch["target"].unsqueeze(1).expand_as(answers)
        if self.spec.output == "probability":
            losses = functional.binary_cross_entropy_with_logits(answers, target, reduction="none")
        else:
            losses = (answers - (target - self.spec.target_mean) / self.spec.target_std).square()
        return (losses.mean(1) * batch["weight"]).mean()

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The members' mean: of their probabilities, or of their values."""
        answers = model(batch["numeric"], batch["categorical"])
        if self.spec.output == "probability":
            return torch.sigmoid(answers).mean(1)
        return answers.mean(1) * self.spec.target_std + self.spec.target_mean

    def schedule(self, step: int, total_steps: int) -> float:
        """Half a cosine from the full learning rate to none."""
        return 0.5 * (1.0 + math.cos(math.pi * step / total_steps))

    def metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """What is watched during training, on the validation part."""
        return scores.watched(self.spec.output, predictions, targets)
