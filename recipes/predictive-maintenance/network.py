"""A small ensemble of multilayer perceptrons that share their weights, over piecewise-linear encodings of measurements.

Ideas (the code is our own):
    TabM, Gorishniy, Kotelnikov, Babenko: TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling,
    ICLR 2025, https://arxiv.org/abs/2410.24210 (section 3)
    encodings, Gorishniy, Rubachev, Babenko: On Embeddings for Numerical Features in Tabular Deep Learning,
    NeurIPS 2022, https://arxiv.org/abs/2203.05556 (section 3.2)

Letters in shapes: B rows, N numeric features, C categorical features, Q intervals, E embedding, K members, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.features import FeatureSpec

FARTHEST = 8.0
"""Standard deviations from the mean beyond which a value counts as being there."""


class Measurements(nn.Module):
    """Numeric features in their units, NaN where missing, to one embedding each.

    Shapes: (B, N) to (B, N, E).
    """

    def __init__(self, spec: FeatureSpec, *, embedding: int, intervals: int) -> None:
        super().__init__()
        edges = torch.tensor([_edges(feature.edges, intervals) for feature in spec.numeric]).reshape(-1, intervals + 1)
        self.register_buffer("mean", torch.tensor([feature.mean for feature in spec.numeric]))
        self.register_buffer("std", torch.tensor([feature.std for feature in spec.numeric]))
        self.register_buffer("left", edges[:, :-1].contiguous())
        self.register_buffer("span", edges.diff(dim=1))
        count = len(spec.numeric)
        self.slope = nn.Parameter(uniform(count, embedding, fan_in=1))
        self.bias = nn.Parameter(uniform(count, embedding, fan_in=1))
        self.missing = nn.Parameter(torch.zeros(count, embedding))
        self.steps = nn.Parameter(torch.zeros(count, intervals, embedding))

    def forward(self, numeric: Tensor) -> Tensor:
        """Linear in the standardised value plus linear in how much of each interval the value fills."""
        absent = torch.isnan(numeric)
        value = torch.where(absent, self.mean, numeric)
        standard = ((value - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)
        filled = ((value.unsqueeze(-1) - self.left) / self.span.clamp_min(1e-30)).clamp(0.0, 1.0) * (self.span > 0)
        known = standard.unsqueeze(-1) * self.slope + torch.einsum("bnq,nqe->bne", filled, self.steps)
        return torch.where(absent.unsqueeze(-1), self.missing, known) + self.bias


class SharedLinear(nn.Module):
    """One weight matrix for all members, who differ by what they scale before and after it.

    Shapes: (B, K, inputs) to (B, K, outputs).
    """

    def __init__(self, inputs: int, outputs: int, *, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform(outputs, inputs, fan_in=inputs))
        self.before = nn.Parameter(torch.ones(members, inputs))
        self.after = nn.Parameter(torch.ones(members, outputs))
        self.bias = nn.Parameter(uniform(1, outputs, fan_in=inputs).expand(members, -1).clone())

    def forward(self, hidden: Tensor) -> Tensor:
        """The members' linear maps in one matrix product."""
        return functional.linear(hidden * self.before, self.weight) * self.after + self.bias


class TabularEnsemble(nn.Module):
    """One answer a member for each row: logits, or standardised values.

    Shapes: numeric (B, N) float32 and categorical (B, C) int64 to (B, K).
    """

    def __init__(
        self, spec: FeatureSpec, *, width: int, depth: int, members: int, embedding: int, intervals: int, dropout: float
    ) -> None:
        super().__init__()
        self.category_sizes = [feature.size for feature in spec.categorical]
        self.measurements = Measurements(spec, embedding=embedding, intervals=intervals)
        chunks = [embedding] * len(spec.numeric) + self.category_sizes
        layers = [SharedLinear(sum(chunks) if n == 0 else width, width, members=members) for n in range(depth)]
        # Members begin apart: one random factor a feature and member, as in the paper where features are embedded.
        layers[0].before.data = torch.randn(members, len(chunks)).repeat_interleave(torch.tensor(chunks), dim=1)
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Parameter(uniform(members, width, fan_in=width))
        self.head_bias = nn.Parameter(uniform(members, 1, fan_in=width).squeeze(1))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Embed, widen to the members, and let each answer."""
        one_hot = [_one_hot(categorical[:, n], size) for n, size in enumerate(self.category_sizes)]
        embedded = self.measurements(numeric).flatten(1)
        flat = torch.cat([embedded, *(code.to(numeric.dtype) for code in one_hot)], dim=1)
        hidden = flat.unsqueeze(1)
        for layer in self.layers:
            hidden = self.dropout(functional.relu(layer(hidden)))
        return (hidden * self.head).sum(-1) + self.head_bias


def uniform(*shape: int, fan_in: int) -> Tensor:
    """Within one over the root of the inputs: ``torch.nn.Linear``'s own first weights."""
    bound = 1.0 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)


def _one_hot(codes: Tensor, size: int) -> Tensor:
    """By comparison: torch's own looks at the codes, which it cannot where each sample is to have its own gradient."""
    return codes.unsqueeze(1) == torch.arange(size, device=codes.device)


def _edges(given: tuple[float, ...], intervals: int) -> list[float]:
    """Edges thinned to at most this many intervals; intervals that are not needed have no width at the end."""
    count = len(given) - 1
    used = min(intervals, max(count, 0))
    edges = [given[round(step * count / used)] for step in range(used + 1)] if used else [0.0]
    return edges + [edges[-1]] * (intervals - used)
