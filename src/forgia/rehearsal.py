"""Classes and forecasts parted as the job will part them, on the few columns that this depends on: what it would refuse
after its wait in the queue is refused before it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgia import class_parts, forecasting, series, splitting
from forgia import groups as grouping
from forgia.class_parts import Labels
from forgia.data_contract import DataRole, Split, Windows
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError

LOOKED_AT = 10_000_000
"""Rows of series that are laid on a grid from the terminal (4 s); of more only the job speaks."""
SHARED_OUT = 500_000
"""Images that are shared out from the terminal, one after the other (4 s); of more only the job speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What the job will make of the data."""

    refusal: str | None = None
    """Why it would end at once, with what helps."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the outcome depends on, beside the data."""

    role: str
    target: str
    group: str | None
    time: str | None
    split: Split
    samples: Any
    normal: str | None


def rehearse(role: str, binding: DataRole, datasets: Sequence[Dataset], columns: Mapping[str, Any]) -> Rehearsal:
    """Part the data. Nothing is said where it cannot be read, or there is too much of it: then the job will speak.

    Args: columns — those of the request.
    """
    contract, target = binding.contract, binding.contract.column("target")
    is_forecast = contract.output == "quantiles"
    rows = sum(item.manifest.rows for item in datasets)
    if not rows or rows > (LOOKED_AT if is_forecast else SHARED_OUT) or columns.get("episodes_of"):
        return Rehearsal()
    if not is_forecast and (contract.output != "classes" or contract.split.by == "part"):
        return Rehearsal()
    asked = _Asked(
        role=role,
        target=columns["target"],
        group=columns.get("group"),
        time=columns.get("time") if is_forecast or contract.split.by == "time" else None,
        split=contract.split,
        samples=contract.samples,
        normal=target.normal if target else None,
    )
    return _rehearsed(tuple((item.digest, item.paths.root) for item in datasets), asked)


@functools.lru_cache(maxsize=8)  # the points of a sweep ask the same of the same data
def _rehearsed(places: tuple[tuple[str, Path], ...], asked: _Asked) -> Rehearsal:
    datasets = [Dataset.at(root) for _, root in places]
    names = [name for name in (asked.target, asked.group, asked.time) if name]
    table = grouping.pooled(datasets, names, group=asked.group)
    if table is None:
        return Rehearsal()
    try:
        told = _forecasts(table, asked) if isinstance(asked.samples, Windows) else _classes(table, asked)
    except UserError as error:
        return Rehearsal(refusal=f"{error.message}; {error.hint}" if error.hint else error.message)
    except pa.ArrowException:
        return Rehearsal()
    return Rehearsal(warnings=told)


def _classes(table: pa.Table, asked: _Asked) -> tuple[str, ...]:
    """What is never judged. Raises: UserError — as the job."""
    told = table.filter(table.column(asked.target).is_valid())
    labels, place = Labels.of(told.column(asked.target)), f"data.{asked.role}.contract"
    class_parts.check_names(labels, normal=asked.normal, setting=f"{place}.columns.{asked.target}.normal")
    split = _parted(told, labels, asked)
    class_parts.check_parts(labels, split, normal=asked.normal, setting=f"{place}.split.seed")
    return tuple(class_parts.never_judged(labels, split))


def _parted(table: pa.Table, labels: Labels, asked: _Asked) -> splitting.Split:
    rule = asked.split
    if rule.by == "group":
        groups = grouping.of_rows(table, asked.group) if asked.group else np.arange(table.num_rows)
        weights = labels.indicators.astype(np.float64)
        return splitting.split_by_group(groups, weights, fractions=rule.fractions, seed=rule.seed)
    if asked.time is None:
        raise UserError("the split is by time, but the data binds no time column")
    times = table.column(asked.time)
    if times.null_count:
        raise UserError(f"the split is by time, but {times.null_count} row(s) have no {asked.time}")
    return splitting.split_by_time(times.to_numpy(), fractions=rule.fractions)


def _forecasts(table: pa.Table, asked: _Asked) -> tuple[str, ...]:
    """What came more than once. Raises: UserError — as the job."""
    if asked.time is None:
        raise UserError("a forecast needs times, but the data binds no time column")
    by = asked.group or grouping.DATASET
    labels = grouping.of_rows(table, by) if asked.group else grouping.numbered(table, (by,), is_sorted=True)
    grid = series.regular(table, labels, time=asked.time, constant=[by])
    is_known, kind = series.is_known(grid.table, asked.target), asked.samples
    ends = forecasting.learnable_ends(grid, is_known, kind=kind.model_dump(), target=asked.target, role=asked.role)
    forecasting.split_windows(grid, ends, horizon=kind.horizon, fractions=asked.split.fractions, role=asked.role)
    return tuple(series.repeated_sentences(grid, name=asked.group or "dataset"))
