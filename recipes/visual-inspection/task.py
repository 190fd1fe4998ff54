"""Which class of part a photograph shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.judging import class_scores, scores

from .network import Convolutional, VisionTransformer
from .pretrained import begin_with

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises."""


class VisualInspection:
    """Images are changed at random as they are learnt from, by torch's generator: a resumed run sees the same ones."""

    spec: FeatureSpec
    params: Mapping[str, Any]

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, with its first weights drawn from torch's generator or read from a place that is given.

        Raises: UserError — weights of another network, or patches larger than the image.
        """
        self.spec, self.params = spec, params
        size, channels = int(spec.samples["size"]), int(spec.samples["channels"])
        shape = {name: params[name] for name in ("width", "depth", "dropout")} | {"classes": len(spec.classes)}
        if params["network"] == "cnn":
            network: nn.Module = Convolutional(channels=channels, **shape)
        elif params["patch"] > size:
            raise UserError(f"params.patch is {params['patch']}, but images have {size} pixels; choose a smaller patch")
        else:
            network = VisionTransformer(channels=channels, size=size, patch=params["patch"], **shape)
        if params["pretrained"]:
            begin_with(network, params["pretrained"])
        return network

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of images that are changed a little."""
        logits = model(changed(batch["image"], self.params))
        losses = functional.cross_entropy(logits.float(), batch["target"], reduction="none")
        return (losses * batch["weight"]).mean()

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The probability of each class. Shapes: (B, K)."""
        return torch.softmax(model(batch["image"]).float(), dim=1)

    def metrics(self, predictions: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]) -> dict[str, float]:
        """Log loss decides which weights are the best; it moves before a decision does."""
        return scores.watched(self.spec.output, predictions, targets, classes=class_scores.of(self.spec))

    def schedule(self, step: int, total_steps: int) -> float:
        """A short rise, then half a cosine from the full learning rate to none."""
        rise = max(1, round(WARM_UP * total_steps))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(total_steps - rise, 1)))


def changed(image: Tensor, params: Mapping[str, Any]) -> Tensor:
    """Each image moved by whole pixels, mirrored, turned by quarters, and lit otherwise. Shapes: (B, C, S, S)."""
    count, _, size, _ = image.shape
    drawn = torch.rand(count, 7).to(image.device)  # on the CPU, so that every device sees the same
    most = round(params["shift"] * size)
    places = [moved(size, drawn[:, axis], drawn[:, 2 + axis], most=most, turns=params["turns"]) for axis in (0, 1)]
    rows, columns = places[0][:, None, :, None], places[1][:, None, None, :]
    image = image.gather(2, rows.expand_as(image)).gather(3, columns.expand_as(image))
    if params["turns"]:
        image = torch.where((drawn[:, 4] < 0.5)[:, None, None, None], image.transpose(2, 3), image)
    contrast, brightness = (1 + params["light"] * (2 * drawn[:, place] - 1) for place in (5, 6))
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return (image - mean) * contrast[:, None, None, None] + mean * brightness[:, None, None, None]


def moved(size: int, shift: Tensor, mirror: Tensor, *, most: int, turns: bool) -> Tensor:
    """Where each pixel along an axis comes from: beyond the edge the edge goes on. Shapes: (B,) twice, to (B, S)."""
    steps = ((2 * shift - 1) * most).round().long()
    places = (torch.arange(size, device=shift.device)[None] + steps[:, None]).clamp(0, size - 1)
    return torch.where((mirror < 0.5)[:, None], size - 1 - places, places) if turns else places
