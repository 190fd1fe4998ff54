"""How unlikely a window of readings is, learnt from normal operation alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from forgia.features import FeatureSpec

from .network import OthersSay


class AnomalyDetection:
    """Each sensor is foretold from the others; the score is how badly that goes, in nats a sensor."""

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, with its first weights drawn from torch's generator."""
        return OthersSay(spec, **{name: params[name] for name in ("width", "code", "smoothing")})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean score: no target is looked at."""
        return (self.predict(model, batch) * batch["weight"]).mean()

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The network's scores as they are."""
        scores: Tensor = model(batch["numeric"])
        return scores

    def schedule(self, step: int, total_steps: int) -> float:
        """Half a cosine from the full learning rate to none."""
        return 0.5 * (1.0 + math.cos(math.pi * step / total_steps))

    def metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """What is watched during training: how well normal windows of the validation part are foretold."""
        normal = predictions[targets < 0.5]
        return {"normal_score": float(normal.mean()) if len(normal) else float(predictions.mean())}
