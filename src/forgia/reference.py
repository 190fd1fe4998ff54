"""What a measurement is held against: what is usual under its operating condition, or at the beginning of its series.

Fitted on the training part, shipped with the model; only numpy, so that a prediction is made the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST_CONDITIONS = 10
LEAST_EXPLAINED = 0.999
"""Share of the settings' variance that conditions must account for; settings that merely waver make one condition."""
SETTINGS_LOOKED_AT = 20_000
ROUNDS = 20
"""Of moving the centres; conditions worth the name lie apart and settle in two or three."""
LEAST_SHARE = 0.2
"""Of the usual spread at the beginning of a series, where a sensor that happens to be still is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Operating conditions: points around which the settings lie, and what every measurement is like there."""

    settings: tuple[int, ...]
    """Positions of the settings among the numeric features."""
    scale: tuple[float, ...]
    """By which each setting is divided before distances are taken."""
    centres: tuple[tuple[float, ...], ...]
    """(conditions, settings), in the settings' own units."""
    mean: tuple[tuple[float, ...], ...]
    """(conditions, features)."""
    std: tuple[tuple[float, ...], ...]
    """(conditions, features); 1 where nothing varies."""

    def of(self, values: Array) -> npt.NDArray[np.int64]:
        """The nearest condition of each row; a missing setting is near to all. Shapes: (rows, features) to (rows,)."""
        scale = np.asarray(self.scale)
        return _nearest(values[:, self.settings] / scale, np.asarray(self.centres) / scale)

    def standardise(self, values: Array) -> Array:
        """Distances from the condition's mean in its standard deviations. Shapes: (rows, features) to the same."""
        place = self.of(values)
        return np.asarray((values - np.asarray(self.mean)[place]) / np.asarray(self.std)[place])

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Conditions:
        """The inverse of ``dataclasses.asdict`` after a way through JSON."""
        tables = {name: tuple(map(tuple, value[name])) for name in ("centres", "mean", "std")}
        return cls(settings=tuple(value["settings"]), scale=tuple(value["scale"]), **tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The first rows of a series, in which it is taken to be as it should be."""

    rows: int
    skip: int = 0
    """Rows before those, which only lead in."""
    least: tuple[float, ...]
    """(features,): no standard deviation of a beginning counts for less."""

    def standardise(self, values: Array, firsts: npt.NDArray[np.int64]) -> Array:
        """Distances from the beginning's mean in its standard deviations, series by series.

        Args: firsts — the first row of each series, ascending from 0. Shapes: (rows, features) to the same.
        """
        found = np.empty_like(values)
        for first, stop in zip(firsts, [*firsts[1:], len(values)], strict=True):
            start = first + self.skip
            mean, std = _moments(values[start : min(start + self.rows, stop)])
            found[first:stop] = (values[first:stop] - mean) / np.maximum(std, self.least)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Beginning:
        """The inverse of ``dataclasses.asdict`` after a way through JSON."""
        return cls(rows=value["rows"], skip=value["skip"], least=tuple(value["least"]))


def fit_conditions(values: Array, settings: tuple[int, ...]) -> Conditions | None:
    """Conditions of the training rows; None where no setting varies at all.

    As few as account for the settings' variance, found by Lloyd's rounds from centres far apart; one where no small
    number does. Shapes: (rows, features).
    Source: S. P. Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 28 (1982) 129-137.
    """
    if not settings or not len(values):
        return None
    spread = np.nan_to_num(np.nanstd(values[:, settings].astype(np.float64), axis=0)) if len(values) else np.zeros(0)
    scale = np.where(spread > 0, spread, 1.0)
    step = max(1, len(values) // SETTINGS_LOOKED_AT)
    points = values[::step][:, settings].astype(np.float64) / scale
    points = points[~np.isnan(points).any(axis=1)]
    centres = _centres(points) if len(points) else np.zeros((1, len(settings)))
    found = Conditions(
        settings=settings,
        scale=tuple(scale.tolist()),
        centres=tuple(tuple(row) for row in (centres * scale).tolist()),
        mean=(),
        std=(),
    )
    place = found.of(values)
    moments = [_moments(values[place == number]) for number in range(len(centres))]
    return Conditions(
        settings=found.settings,
        scale=found.scale,
        centres=found.centres,
        mean=tuple(tuple(mean.tolist()) for mean, _ in moments),
        std=tuple(tuple(np.where(_varies(mean, std), std, 1.0).tolist()) for mean, std in moments),
    )


def fit_beginning(values: Array, firsts: npt.NDArray[np.int64], *, rows: int, skip: int = 0) -> Beginning:
    """How much measurements usually vary at the beginning of the training series. Shapes: (rows, features)."""
    stops = [*firsts[1:], len(values)]
    spreads = [_moments(values[a + skip : min(a + skip + rows, b)])[1] for a, b in zip(firsts, stops, strict=True)]
    usual = np.median(np.asarray(spreads), axis=0)
    mean, overall = _moments(values)
    least = np.where(_varies(mean, usual), LEAST_SHARE * usual, np.where(_varies(mean, overall), overall, 1.0))
    return Beginning(rows=rows, skip=skip, least=tuple(least.tolist()))


def _moments(values: Array) -> tuple[Array, Array]:
    """Mean and population standard deviation of each column, 0 where nothing is known."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / count
    away = np.where(known, values - mean, 0.0)
    return mean, np.sqrt((away**2).sum(axis=0) / count)


def _varies(mean: Array, std: Array) -> npt.NDArray[np.bool_]:
    """Whether a column varies beyond the rounding of float32."""
    return np.asarray(std > 1e-6 * np.maximum(np.abs(mean), 1e-30))


def _centres(points: Array) -> Array:
    """The fewest centres that account for the variance of the points; their mean where no small number does."""
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    centres: Array = points.mean(axis=0, keepdims=True)
    while total and len(centres) < MOST_CONDITIONS:
        left = _distances(points, centres).min(axis=1)
        if float(left.sum()) <= (1 - LEAST_EXPLAINED) * total:
            return centres
        centres = _settled(points, np.concatenate([centres, points[[int(left.argmax())]]]))
    is_enough = float(_distances(points, centres).min(axis=1).sum()) <= (1 - LEAST_EXPLAINED) * total
    return centres if is_enough else np.asarray(points.mean(axis=0, keepdims=True))


def _settled(points: Array, centres: Array) -> Array:
    for _ in range(ROUNDS):
        place = _nearest(points, centres)
        moved = np.stack(
            [points[place == n].mean(axis=0) if (place == n).any() else centres[n] for n in range(len(centres))]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _distances(points: Array, centres: Array) -> Array:
    """Squared; a missing coordinate adds nothing. Shapes: (rows, settings), (centres, settings) to (rows, centres)."""
    return np.stack([np.nansum((points - centre) ** 2, axis=1) for centre in centres], axis=1)


def _nearest(points: Array, centres: Array) -> npt.NDArray[np.int64]:
    return np.asarray(_distances(points, centres).argmin(axis=1), dtype=np.int64)
