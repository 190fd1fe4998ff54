"""Windows over series in long format: which rows make one, as positions of their last rows; nothing is copied.

Rows are sorted by series and, within one, by time. A window never reaches from one series into another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


def last_rows(series: npt.NDArray[Any], *, length: int, stride: int = 1, horizon: int = 0) -> Positions:
    """The last row of every whole window that has ``horizon`` rows of its series after it.

    Windows of a series end ``stride`` rows apart, counted back from its last possible end, so that the newest rows are
    always in one.
    Args: series — a label a row, equal labels side by side. Shapes: (rows,) to (windows,), in order.
    """
    starts = first_rows(series)
    stops = np.append(starts[1:], len(series))[: len(starts)]
    first, last = starts + length - 1, stops - 1 - horizon
    found = [np.arange(end, begin - 1, -stride)[::-1] for begin, end in zip(first, last, strict=True) if end >= begin]
    return np.concatenate(found).astype(np.int64) if found else _none()


def covered(ends: Positions, *, rows: int, length: int, horizon: int = 0) -> npt.NDArray[np.bool_]:
    """Whether each row lies in a window that ends at one of these rows, or in its horizon. Shapes: (rows,)."""
    steps = np.zeros(rows + 1, dtype=np.int64)
    np.add.at(steps, ends - length + 1, 1)
    np.add.at(steps, ends + horizon + 1, -1)
    return np.cumsum(steps[:-1]) > 0


def first_rows(series: npt.NDArray[Any]) -> Positions:
    """The first row of each series. Args: series — a label a row, equal labels side by side. Shapes: to (series,)."""
    return np.flatnonzero(np.concatenate([[True], series[1:] != series[:-1]])) if len(series) else _none()


def led_in(series: npt.NDArray[Any], *, length: int, is_mirrored: bool = False) -> Positions:
    """Rows in the order to take them so that every row ends a whole window: each series' first one repeated before it.

    Args: series — a label a row, equal labels side by side; is_mirrored — the rows after the first one, the nearest
    last, instead: noise stays noise, which a repeated row has none of.
    Shapes: (rows,) to (rows + series * (length - 1),).
    """
    firsts, back = first_rows(series), np.arange(length - 1, 0, -1) * is_mirrored
    stops = np.append(firsts[1:], len(series))[: len(firsts)]
    parts = [
        np.concatenate([np.minimum(first + back, stop - 1), np.arange(first, stop)])
        for first, stop in zip(firsts, stops, strict=True)
    ]
    return np.concatenate(parts).astype(np.int64) if parts else _none()


def _none() -> Positions:
    return np.zeros(0, dtype=np.int64)
