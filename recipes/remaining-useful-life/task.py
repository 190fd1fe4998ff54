"""Cycles that are left, from the last rows of a machine's history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forgia.features import FeatureSpec
from forgia_jobs.judging import scores

from .network import Prognosis


class RemainingUsefulLife:
    """A value between nothing and the cap, learnt by its square."""

    spec: FeatureSpec

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, with its first weights drawn from torch's generator."""
        self.spec = spec
        names = ("width", "depth", "kernel", "members", "dropout")
        return Prognosis(spec, **{name: params[name] for name in names})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Every member answers for itself; the mean over members, then over windows."""
        answers = model(batch["numeric"], batch["categorical"])
        wanted = (batch["target"] - self.spec.target_mean) / self.spec.target_std
        return ((answers - wanted.unsqueeze(1)).square().mean(1) * batch["weight"]).mean()

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The members' mean, never less than nothing nor more than was told apart in training."""
        answers = model(batch["numeric"], batch["categorical"])
        found = answers.mean(1) * self.spec.target_std + self.spec.target_mean
        return torch.clamp(found, min=0.0, max=float("inf") if self.spec.cap is None else float(self.spec.cap))

    def schedule(self, step: int, total_steps: int) -> float:
        """Half a cosine from the full learning rate to none."""
        return 0.5 * (1.0 + math.cos(math.pi * step / total_steps))

    def metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """What is watched during training, on the validation part."""
        return scores.watched(self.spec.output, predictions, targets)
