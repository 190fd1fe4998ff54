"""A few small convolutional networks side by side, over the course of a machine's measurements.

Letters in shapes: B windows, L rows of a window, N measurements, C categories, K members, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.features import FeatureSpec

FARTHEST = 8.0
"""Standard deviations from the mean beyond which a value counts as being there."""


class Course(nn.Module):
    """Measurements of a window as standard deviations from their means, 0 where missing.

    Shapes: (B, L, N) to (B, N, L).
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        mean, std = spec.scales
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, numeric: Tensor) -> Tensor:
        """What is far out is brought nearer: one broken reading is not to decide alone."""
        standard = ((numeric - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)
        return torch.where(torch.isnan(standard), 0.0, standard).transpose(1, 2)


class Block(nn.Module):
    """Two convolutions beside a straight way, in every member for itself.

    Shapes: (B, K * W, L) to the same.
    """

    def __init__(self, width: int, *, kernel: int, members: int, dropout: float) -> None:
        super().__init__()
        channels = width * members
        self.first = nn.Conv1d(channels, channels, kernel, padding="same", groups=members)
        self.second = nn.Conv1d(channels, channels, kernel, padding="same", groups=members)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """What is added to the way straight on."""
        return hidden + self.second(self.dropout(functional.relu(self.first(functional.relu(hidden)))))


class Prognosis(nn.Module):
    """One answer a member for each window, in parts of the target's span.

    Shapes: numeric (B, L, N) float32 and categorical (B, C) int64 to (B, K).
    """

    def __init__(self, spec: FeatureSpec, *, width: int, depth: int, kernel: int, members: int, dropout: float) -> None:
        super().__init__()
        self.category_sizes = [feature.size for feature in spec.categorical]
        self.members, self.width = members, width
        self.course = Course(spec)
        self.inlet = nn.Conv1d(len(spec.numeric) + sum(self.category_sizes), width * members, 1)
        self.blocks = nn.ModuleList(Block(width, kernel=kernel, members=members, dropout=dropout) for _ in range(depth))
        self.outlet = nn.Conv1d(2 * width * members, width * members, 1, groups=members)
        self.head = nn.Conv1d(width * members, members, 1, groups=members)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Read the course, then answer from its end and from its mean."""
        course = self.course(numeric)
        codes = [functional.one_hot(categorical[:, n], size) for n, size in enumerate(self.category_sizes)]
        fixed = [code.to(course.dtype).unsqueeze(2).expand(-1, -1, course.shape[2]) for code in codes]
        hidden = self.inlet(torch.cat([course, *fixed], dim=1))
        for block in self.blocks:
            hidden = block(hidden)
        hidden = functional.relu(hidden)
        # Each member's channels side by side, so that the groups of the next layer keep the members apart.
        ends = torch.stack([hidden[:, :, -1], hidden.mean(2)], dim=1).unflatten(2, (self.members, self.width))
        summary = ends.transpose(1, 2).flatten(1).unsqueeze(2)
        return self.head(functional.relu(self.outlet(summary))).squeeze(2)
