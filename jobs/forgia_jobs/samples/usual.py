"""What is usual, learnt from the training part: under each operating condition, and at the beginning of a series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia import reference, windows
from forgia.features import FeatureSpec
from forgia.reference import Beginning
from forgia_jobs.request import Role
from forgia_jobs.samples import Positions

Own = Mapping[str, npt.NDArray[Any]]
"""What windows know of themselves: ``ends``, the last row of each, and ``firsts``, the first row of each series."""


def settle(
    spec: FeatureSpec, role: Role, own: Own, numeric: npt.NDArray[Any], *, train: Positions
) -> tuple[FeatureSpec, npt.NDArray[Any]]:
    """The spec with what the role wants to be held against, and the encoded numbers as distances from it.

    Args: train — the windows of the training part. Shapes: numeric (rows, features), series by series, to the same; the
    very same where nothing is wanted.
    """
    names = [feature.name for feature in spec.numeric]
    settings = tuple(names.index(name) for name in role.columns.conditions)
    rows, length = int(role.samples.get("beginning", 0)), int(role.samples.get("length", 1))
    if not settings and not rows:
        return spec, numeric
    ends = own["ends"][train]
    learnt = np.flatnonzero(windows.covered(ends, rows=len(numeric), length=length))
    spec = replace(spec, conditions=reference.fit_conditions(numeric[learnt], settings))
    if rows:
        under = spec.conditions.standardise(numeric) if spec.conditions else numeric
        skip = length - 1 if role.samples.get("lead_in") else 0
        spec = replace(spec, beginning=_beginning(under, own["firsts"], ends, rows=rows, skip=skip))
    return spec, spec.standardise(numeric, own["firsts"])


def _beginning(
    numeric: npt.NDArray[Any], firsts: npt.NDArray[Any], ends: npt.NDArray[Any], *, rows: int, skip: int
) -> Beginning:
    """Of the series that these windows are from; a series trains with all its windows or with none."""
    train = np.unique(np.searchsorted(firsts, ends, side="right") - 1)
    stops = np.append(firsts[1:], len(numeric))
    kept = np.concatenate([np.arange(firsts[number], stops[number]) for number in train])
    lengths = (stops - firsts)[train]
    return reference.fit_beginning(numeric[kept], np.cumsum(lengths) - lengths, rows=rows, skip=skip)
