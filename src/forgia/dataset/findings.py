"""What a person should know about a table before training on it, in plain words, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forgia import units
from forgia.dataset.svg import figure, share

MANY_MISSING = 0.05
RARE_CLASS = 0.05
"""Below it a model that always says no looks right; class weights or another metric than accuracy are needed."""
FEW_ROWS = 20
"""Of a class, below which a model hardly learns it, and a test part hardly holds it."""
LABELS = frozenset({"defect_type", "failure_type"})
"""Concepts of categories that models are asked for."""
ALIKE_IS_WELL = frozenset({"image_width", "image_height"})
"""Concepts of which nobody expects a model to learn."""
TELLING_OUTLIERS = 0.001
"""A share of far-out values under it is what a few honest extremes give."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One thing to know about one column, or about the whole table."""

    weight: int
    """0 for what usually spoils a model, 1 for what deserves a look, 2 for what is good to know."""
    column: str
    """Empty for the whole table."""
    text: str

    def __str__(self) -> str:
        return f"{self.column}: {self.text}" if self.column else self.text


def findings(profile: Mapping[str, Any]) -> list[Finding]:
    """Everything worth saying about this profile."""
    if not profile["rows"]:
        return [Finding(weight=0, column="", text="no rows at all")]
    found = [*of_table(profile)]
    for column in profile["columns"]:
        found.extend(of_column(column))
    return sorted(found)


def of_table(profile: Mapping[str, Any]) -> Iterator[Finding]:
    """Rows that repeat others."""
    duplicates = profile["duplicates"]
    if not duplicates["found"]:
        return
    text = f"{duplicates['found']:,} of {duplicates['rows_compared']:,} rows repeat an earlier one"
    if not duplicates["complete"]:
        text = f"at least {text}; about {share(duplicates['share'])} of the whole table"
    yield Finding(weight=0 if duplicates["share"] > 0.01 else 1, column="", text=text)


def of_column(column: Mapping[str, Any]) -> Iterator[Finding]:
    """What one column's figures give away."""
    name = column["name"]
    if column["nulls_share"] == 1:
        yield Finding(weight=0, column=name, text="no value at all")
        return
    if column["nulls_share"] > MANY_MISSING:
        text = f"{share(column['nulls_share'])} of the values are missing"
        yield Finding(weight=0 if column["nulls_share"] > 0.5 else 1, column=name, text=text)
    if column.get("constant") and column["concept"] not in ALIKE_IS_WELL:
        yield Finding(weight=1, column=name, text="the same value in every row; a model learns nothing from it")
    if column.get("not_finite"):
        yield Finding(weight=0, column=name, text=f"{column['not_finite']:,} values are not finite numbers")
    if column["kind"] == "number":
        yield from of_numbers(column)
    elif column["kind"] == "time":
        yield from of_times(column)
    elif column["kind"] == "boolean":
        yield from of_classes(column)
    elif column["concept"] in LABELS:
        yield from of_labels(column)


def of_numbers(column: Mapping[str, Any]) -> Iterator[Finding]:
    """Values that no person would expect there."""
    unit = f" {column['unit']}" if column["unit"] not in (None, "", units.DIMENSIONLESS) else ""
    if beyond := column.get("beyond_typical_range"):
        low, high = (figure(bound) for bound in column["typical_range"])
        text = f"{beyond:,} values lie beyond what is usual ({low} to {high}{unit}); is the unit right?"
        yield Finding(weight=0, column=name_of(column), text=text)
    outliers = column.get("outliers")
    if outliers and outliers["share"] > TELLING_OUTLIERS:
        low, high = (figure(fence) for fence in outliers["fences"])
        text = f"{share(outliers['share'])} of the sampled values are far out, below {low} or above {high}{unit}"
        yield Finding(weight=1, column=name_of(column), text=text)


def of_times(column: Mapping[str, Any]) -> Iterator[Finding]:
    """Rows that are not in the order of time."""
    if column.get("steps_back"):
        text = f"time goes back {column['steps_back']:,} times from one row to the next"
        yield Finding(weight=2, column=name_of(column), text=text)


def of_classes(column: Mapping[str, Any]) -> Iterator[Finding]:
    """A class that is so rare that accuracy says nothing."""
    counts = {item["value"]: item["count"] for item in column["top"] or ()}
    total = sum(counts.values())
    if len(counts) < 2:
        return
    rare = min(counts, key=lambda value: counts[value])
    if counts[rare] / total < RARE_CLASS:
        part = f"{share(counts[rare] / total)} ({counts[rare]:,} rows)"
        text = f"only {part} are {str(rare).lower()}; accuracy alone would mislead"
        yield Finding(weight=1, column=name_of(column), text=text)


def of_labels(column: Mapping[str, Any]) -> Iterator[Finding]:
    """Classes that are hardly there."""
    few = [f"{item['value']} ({item['count']:,})" for item in column["top"] or () if item["count"] < FEW_ROWS]
    if few:
        text = f"fewer than {FEW_ROWS} rows each of {', '.join(few)}; a model hardly learns what it has seldom seen"
        yield Finding(weight=1, column=name_of(column), text=text)


def name_of(column: Mapping[str, Any]) -> str:
    """The column's name as text."""
    return str(column["name"])
