"""The load of the next hours, with how sure that is, from its past, the calendar and the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forgia.features import FeatureSpec
from forgia_jobs.judging import scores

from .network import LoadForecaster


class EnergyForecasting:
    """Quantiles of the target, a row a step ahead."""

    spec: FeatureSpec

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, with its first weights drawn from torch's generator."""
        self.spec = spec
        names = ("width", "depth", "summary", "dropout")
        return LoadForecaster(spec, **{name: params[name] for name in names})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The pinball loss of all quantiles and steps, in standard deviations of the target."""
        missed = (batch["target"].unsqueeze(-1) - self.predict(model, batch)) / self.spec.target_std
        share = torch.tensor(self.spec.quantiles, device=missed.device)
        losses = torch.maximum(share * missed, (share - 1) * missed)
        return (losses.mean((1, 2)) * batch["weight"]).mean()

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The network's answers as they are, in the target's unit."""
        answers: Tensor = model(batch["numeric"], batch["categorical"], batch["level"], batch["known"])
        return answers

    def schedule(self, step: int, total_steps: int) -> float:
        """Half a cosine from the full learning rate to none."""
        return 0.5 * (1.0 + math.cos(math.pi * step / total_steps))

    def metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """What is watched during training, on the validation part."""
        return scores.watched(self.spec.output, predictions, targets, levels=self.spec.quantiles)
