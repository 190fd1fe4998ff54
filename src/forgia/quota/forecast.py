"""When a budget will be used up: a smoothed level, its past ups and downs drawn again, and the grants' own ends. Pure.

Amounts are integers of any one unit. The same history gives the same forecast, on every machine.
Sources: circular block bootstrap — D. N. Politis, J. P. Romano, "A circular block-resampling procedure for stationary
data", in Exploring the Limits of Bootstrap, Wiley 1992.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np

HALF_LIFE_DAYS = 7
"""A day counts half as much as one a week later: a firm's week decides, and not one busy night."""
BLOCK_DAYS = 7
"""Days are drawn a week at a time, so that a quiet weekend stays beside its busy Friday."""
LEAST_DAYS = 7
"""Of fewer nothing is foretold."""
WINDOW_DAYS = 90
"""What was used longer ago says nothing of the next months."""
TRIALS = 1000
SEED = 20261123
CHANCES = (10, 50, 90)
"""Percent of the futures in which the budget is used up by then."""

Paths = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tranche:
    """What is free on one grant, and when it may be used."""

    free: int
    """Below 0: it counts as nothing."""
    begin: date
    end: date
    """The first day on which it is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is likely to become of a budget."""

    days_known: int
    level: int
    """Used a day, of late."""
    free: int
    end: date
    """When the last of the grants is over; nothing is foretold beyond it."""
    days_to_end: int
    exhausted: Mapping[int, date | None]
    """Percent of the futures → the first day that the budget does not bear; None: not before the end."""
    recommended: int
    """A day, from today on, to have used everything at the end."""
    remark: str
    """Empty; or why there is no date."""

    @property
    def days_left(self) -> int | None:
        """Until it is used up in half of the futures, or its end; None: nothing can be foretold."""
        if self.remark:
            return None
        middle = self.exhausted[50]
        return self.days_to_end if middle is None else self.days_to_end - (self.end - middle).days


def forecast(daily: Sequence[int], tranches: Sequence[Tranche], *, today: date, seed: int = SEED) -> Forecast:
    """What becomes of the grants of one holder that goes on as it did.

    Args: daily — used on each day until yesterday, oldest first. tranches — what is free; holds count as used, since
    they are reserved.
    """
    history = list(daily)[-WINDOW_DAYS:]
    alive = sorted((one for one in tranches if one.end > today), key=lambda one: (one.end, one.begin))
    end = max((one.end for one in alive), default=today)
    days = (end - today).days
    free = sum(max(one.free, 0) for one in alive)
    level = ewma(history)
    dates: dict[int, date | None] = dict.fromkeys(CHANCES)
    if not free:
        dates = dict.fromkeys(CHANCES, today)
    elif not (remark := too_little(history)) and level and days:
        firsts = exhaustions(paths(history, days, seed=seed), alive, today=today)
        dates = {chance: quantile(firsts, chance, days=days, today=today) for chance in CHANCES}
    return Forecast(
        days_known=len(history),
        level=round(level),
        free=free,
        end=end,
        days_to_end=days,
        exhausted=dates,
        recommended=free // days if days else 0,
        remark=remark if free else "",
    )


def too_little(history: Sequence[int]) -> str:
    """Why nothing can be foretold from so few days; empty where it can."""
    if not history:
        return "nothing has been charged yet on a day that is over, so there is nothing to go by"
    if len(history) < LEAST_DAYS:
        return f"only {len(history)} of the {LEAST_DAYS} days that a forecast takes are known"
    return ""


def ewma(daily: Sequence[int]) -> float:
    """The exponentially weighted mean, the youngest day counting most; weights add up to 1 from the first day on."""
    weights = [0.5 ** (age / HALF_LIFE_DAYS) for age in range(len(daily) - 1, -1, -1)]
    return math.fsum(weight * amount for weight, amount in zip(weights, daily, strict=True)) / (math.fsum(weights) or 1)


def paths(history: Sequence[int], days: int, *, seed: int) -> Paths:
    """Futures, one a row, one day a column: blocks of the past in a ring, moved to the level of late."""
    mean = math.fsum(history) / len(history)
    scaled = np.rint(np.asarray(history, dtype=np.float64) * (ewma(history) / mean)).astype(np.int64)
    blocks = -(-days // BLOCK_DAYS)
    # random() alone promises the same numbers for a seed in every version of Python; numpy promises none
    draw = Random(seed).random  # noqa: S311 — a simulation, not a secret
    starts = np.array([int(draw() * len(history)) for _ in range(TRIALS * blocks)], dtype=np.int64)
    places = (starts[:, None] + np.arange(BLOCK_DAYS)) % len(history)
    drawn: Paths = scaled[places].reshape(TRIALS, blocks * BLOCK_DAYS)[:, :days]
    return drawn


def exhaustions(futures: Paths, tranches: Sequence[Tranche], *, today: date) -> list[int]:
    """Of each future the first day, counted from today as 0, that the grants do not bear; the number of days: none.

    The grant that ends first is used first, and what is left of it then is lost.
    """
    trials, days = futures.shape
    left = [np.full(trials, max(one.free, 0), dtype=np.int64) for one in tranches]
    spans = [((one.begin - today).days, (one.end - today).days) for one in tranches]
    found = np.full(trials, days, dtype=np.int64)
    edges = sorted({0, days, *(edge for span in spans for edge in span if 0 < edge < days)})
    for first, last in pairwise(edges):
        usable = [place for place, (begin, end) in enumerate(spans) if begin <= first < end]
        spent = np.cumsum(futures[:, first:last], axis=1)
        beyond = spent > sum((left[place] for place in usable), np.zeros(trials, dtype=np.int64))[:, None]
        fails = beyond.any(axis=1) & (found == days)
        found[fails] = first + beyond.argmax(axis=1)[fails]
        due = spent[:, -1]
        for place in usable:
            some = np.minimum(left[place], due)
            left[place], due = left[place] - some, due - some
    return sorted(int(day) for day in found)


def quantile(firsts: Sequence[int], chance: int, *, days: int, today: date) -> date | None:
    """The day by which the budget is used up in so many percent of the futures; None: not before its end."""
    day = firsts[-(-len(firsts) * chance // 100) - 1]
    return None if day >= days else today + timedelta(days=day)
