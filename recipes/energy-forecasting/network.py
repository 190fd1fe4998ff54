"""A small multilayer perceptron from the past of a load and what is known of the time ahead to quantiles in order.

Idea (the code is our own):
    TiDE, Das, Kong, Leach, Mathur, Sen, Yu: Long-term Forecasting with TiDE: Time-series Dense Encoder, Transactions on
    Machine Learning Research, August 2023, https://arxiv.org/abs/2304.08424 (section 4): residual dense layers read the
    whole past at once, and others answer step by step with what is known of that step at hand.

Letters in shapes: B windows, L rows of history, H rows ahead, T = L + H, N numeric features, C categorical features, K
known columns (four of the calendar, then the plans), Q quantiles.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia.features import FeatureSpec, NumericFeature
from forgia.forecasting import Frame

HOUR, WEEKDAY, DAY_OF_YEAR, HOLIDAY = range(4)
"""Columns of ``known``, as ``forgia.calendars.NAMES`` has them; plans come after."""
SUNDAY = 6
WAVES_A_DAY = (1, 2, 3)
WAVES_A_YEAR = (1, 2)
CLOCK = 2 * len(WAVES_A_DAY) + 2 * len(WAVES_A_YEAR) + 7 + 1
"""Numbers that the calendar of a step becomes."""
LEAST_SPREAD = 0.05
"""Standard deviation of a load, as a share of its mean, below which it counts as this."""
FARTHEST = 8.0
"""Standard deviations from the mean beyond which a value counts as being there."""


class Plans(nn.Module):
    """What is known in advance besides the calendar, in two scales, and where it is missing.

    Shapes: (B, T, K - 4) to (B, T, size).
    """

    def __init__(self, plans: list[NumericFeature]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([feature.mean for feature in plans]))
        self.register_buffer("std", torch.tensor([feature.std for feature in plans]))
        self.size = 3 * len(plans)

    def forward(self, plans: Tensor) -> Tensor:
        """Against all that training saw, and against the most of this window: a line's own full speed."""
        absent = torch.isnan(plans)
        value = torch.where(absent, self.mean, plans)
        most = torch.where(absent, 0.0, plans.abs()).amax(dim=1, keepdim=True).clamp_min(1e-6)
        share = torch.where(absent, 0.0, value / most)
        standard = ((value - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)
        return torch.cat([standard, share, absent.to(plans.dtype)], dim=-1)


def clock(known: Tensor) -> Tensor:
    """Waves for what comes round, and one number for each day of the week: a holiday is a Sunday that says so.

    Shapes: (B, H, K) to (B, H, CLOCK).
    """
    day = known[..., HOUR, None] * torch.tensor(WAVES_A_DAY, device=known.device) * (2 * math.pi / 24)
    year = known[..., DAY_OF_YEAR, None] * torch.tensor(WAVES_A_YEAR, device=known.device) * (2 * math.pi / 365.25)
    holiday = known[..., HOLIDAY]
    weekday = torch.where(holiday > 0, float(SUNDAY), known[..., WEEKDAY]).long()
    days = [functional.one_hot(weekday, 7).to(known.dtype), holiday.unsqueeze(-1)]
    return torch.cat([day.sin(), day.cos(), year.sin(), year.cos(), *days], dim=-1)


class Residual(nn.Module):
    """Two dense layers beside a straight line, then a normalisation.

    Shapes: (..., inputs) to (..., outputs).
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs), nn.Dropout(dropout)
        )
        self.straight = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """The sum of both ways."""
        normalised: Tensor = self.norm(self.dense(hidden) + self.straight(hidden))
        return normalised


class LoadForecaster(nn.Module):
    """Quantiles of the load of each step ahead, in its unit.

    Shapes: numeric (B, L, N), categorical (B, C), level (B, 2) and known (B, T, K) to (B, H, Q).
    """

    def __init__(self, spec: FeatureSpec, *, width: int, depth: int, summary: int, dropout: float) -> None:
        super().__init__()
        frame = Frame.of(spec)
        self.length, self.seasons, self.middle = frame.length, frame.seasons, len(spec.quantiles) // 2
        named = {feature.name: number for number, feature in enumerate(spec.numeric)}
        others = [name for name in named if name not in (spec.target, *frame.ahead)]
        self.target = named[spec.target]
        self.plans = Plans([spec.numeric[named[name]] for name in frame.ahead])
        self.rest = Rest(spec, others=[named[name] for name in others])
        self.register_buffer("lags", torch.tensor([frame.rows_before(rows) for rows in frame.seasons]))
        self.encode = nn.Sequential(
            Residual(2 * self.length, width, hidden=width, dropout=dropout),
            Residual(width, summary, hidden=width, dropout=dropout),
        )
        of_window = summary + 2 + len(frame.seasons) + self.rest.size
        of_step = CLOCK + self.plans.size + (2 + self.plans.size) * len(frame.seasons)
        sizes = [of_window + of_step, *[width] * depth]
        layers = [Residual(*pair, hidden=width, dropout=dropout) for pair in itertools.pairwise(sizes)]
        self.answer = nn.Sequential(*layers, nn.Linear(width, len(spec.quantiles)))

    def forward(self, numeric: Tensor, categorical: Tensor, level: Tensor, known: Tensor) -> Tensor:
        """Scale by the line's own level, sum the past up, answer each step, and scale back."""
        mean = level[:, :1]
        spread = torch.maximum(level[:, 1:], LEAST_SPREAD * mean.abs()).clamp_min(1e-6)
        load = numeric[..., self.target]
        absent = torch.isnan(load)
        past = torch.where(absent, 0.0, ((load - mean) / spread).clamp(-FARTHEST, FARTHEST))
        summary = self.encode(torch.cat([past, absent.to(past.dtype)], dim=1))
        recent = [past[:, -1:], *(past[:, -rows:].mean(1, keepdim=True) for rows in self.seasons)]
        window = torch.cat([summary, *recent, mean / (mean.abs() + spread), self.rest(numeric, categorical)], dim=1)
        steps = self._steps(past, known)
        whole = window.unsqueeze(1).expand(-1, steps.shape[1], -1)
        answers = ascending(self.answer(torch.cat([whole, steps], dim=-1)), middle=self.middle)
        return mean.unsqueeze(-1) + spread.unsqueeze(-1) * answers

    def _steps(self, past: Tensor, known: Tensor) -> Tensor:
        """What is known of each step ahead, and how it was a season before it. Shapes: to (B, H, ..)."""
        plans = self.plans(known[..., HOLIDAY + 1 :])
        found = [clock(known[:, self.length :]), plans[:, self.length :]]
        for rows in self.lags:
            found += [past[:, rows, None], known[:, rows, HOLIDAY, None], plans[:, rows]]
        return torch.cat(found, dim=-1)


class Rest(nn.Module):
    """Measurements that are known of the past only, and categories: each once a window.

    Shapes: numeric (B, L, N) and categorical (B, C) to (B, size).
    """

    def __init__(self, spec: FeatureSpec, *, others: list[int]) -> None:
        super().__init__()
        self.others, self.category_sizes = others, [feature.size for feature in spec.categorical]
        self.register_buffer("mean", torch.tensor([spec.numeric[number].mean for number in others]))
        self.register_buffer("std", torch.tensor([spec.numeric[number].std for number in others]))
        self.size = 2 * len(others) + sum(self.category_sizes)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """The mean of each measurement over the window and how much of it is missing; codes as one number each."""
        values = numeric[:, :, self.others]
        absent = torch.isnan(values)
        standard = torch.where(absent, 0.0, ((values - self.mean) / self.std).clamp(-FARTHEST, FARTHEST))
        known = (~absent).to(values.dtype).mean(1)
        codes = [functional.one_hot(categorical[:, n], size) for n, size in enumerate(self.category_sizes)]
        return torch.cat(
            [standard.mean(1) / known.clamp_min(1e-6), known, *(code.to(known.dtype) for code in codes)], dim=1
        )


def ascending(answers: Tensor, *, middle: int) -> Tensor:
    """Numbers of any order as quantiles in theirs: the middle one as it is, each other a positive step further away.

    Shapes: (..., Q) to (..., Q).
    """
    # torch's cumsum does not round alike every time on GPUs, and is refused there where bits count.
    steps = functional.softplus(answers).unbind(-1)
    centre = answers[..., middle]
    below = [centre - away for away in itertools.accumulate(reversed(steps[:middle]))]
    above = [centre + away for away in itertools.accumulate(steps[middle + 1 :])]
    return torch.stack([*reversed(below), centre, *above], dim=-1)
