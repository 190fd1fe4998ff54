"""What each sensor should read, given the others: a network in which no sensor sees itself.

Letters in shapes: B windows, L rows of a window, N sensors, W width, D numbers of a code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.features import FeatureSpec


class Readings(nn.Module):
    """Readings of a window as standard deviations from what they should be, far ones brought nearer, 0 where missing.

    Shapes: (B, L, N) to twice (B, N, L): the values, and 1 where they are known.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        mean, std = spec.scales
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, numeric: Tensor) -> tuple[Tensor, Tensor]:
        """Linear near 0, a logarithm far from it."""
        standard = torch.asinh((numeric - self.mean) / self.std)
        known = ~torch.isnan(standard)
        return torch.where(known, standard, 0.0).transpose(1, 2), known.transpose(1, 2).to(numeric.dtype)


class OthersSay(nn.Module):
    """How far each sensor's latest readings are from what the codes of all other sensors make of it.

    Every sensor's window becomes a code; a sensor is foretold from the sum of the others' codes. The score is minus the
    logarithm of a normal density around what was foretold, without its constant, averaged over the sensors of which
    something is known. Shapes: numeric (B, L, N) to (B,).
    """

    def __init__(self, spec: FeatureSpec, *, width: int, code: int, smoothing: int) -> None:
        super().__init__()
        sensors = len(spec.numeric)
        self.sensors, self.code, self.smoothing = sensors, code, smoothing
        self.readings = Readings(spec)
        self.first = nn.Conv1d(sensors, sensors * width, 5, padding=2, groups=sensors)
        self.second = nn.Conv1d(sensors * width, sensors * width, 5, padding=2, groups=sensors)
        self.coding = nn.Conv1d(sensors * 2 * width, sensors * code, 1, groups=sensors)
        self.reading = nn.Conv1d(sensors * code, sensors * code, 1, groups=sensors)
        self.answer = nn.Conv1d(sensors * code, sensors, 1, groups=sensors)
        self.log_variance = nn.Parameter(torch.zeros(sensors))

    def forward(self, numeric: Tensor) -> Tensor:
        """Code, leave one out, foretell, compare."""
        values, known = self.readings(numeric)
        hidden = functional.relu(self.second(functional.relu(self.first(values))))
        ends = torch.stack([hidden[:, :, -self.smoothing :].mean(2), hidden.mean(2)], dim=1)
        ends = ends.unflatten(2, (self.sensors, -1)).transpose(1, 2).flatten(1)
        codes = self.coding(ends.unsqueeze(2)).unflatten(1, (self.sensors, self.code)).squeeze(3)
        codes = codes * known.amax(2).unsqueeze(2)
        others = (codes.sum(1, keepdim=True) - codes) / self.sensors**0.5
        read = functional.relu(self.reading(functional.relu(others).flatten(1).unsqueeze(2)))
        foretold = self.answer(read).squeeze(2)
        latest, share = values[:, :, -self.smoothing :], known[:, :, -self.smoothing :].mean(2)
        distance = torch.where(share > 0, latest.mean(2) / share.clamp_min(1e-6) - foretold, 0.0)
        log_variance = self.log_variance.clamp(-12.0, 12.0)
        surprise = 0.5 * (distance.square() * torch.exp(-log_variance) + log_variance)
        return (surprise * share).sum(1) / share.sum(1).clamp_min(1e-6)
