"""What a table looks like: one pass over its batches, bounded memory, exact where that is cheap and honest where not.

Exact: rows, missing values, smallest, largest, mean, standard deviation, counts beyond the typical range, largest gap.
From a bounded sample spread evenly over the rows: quantiles, histogram, outliers, how many different numbers there are.
Each answer says which it is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia.dataset.manifest import Column
from forgia.dataset.sampling import RowDigests, RowSample

SCHEMA_VERSION = 1
Range = tuple[float | None, float | None]
SAMPLE_ROWS = 16_384
"""A quantile from that many rows is within 1.1 % of its rank, 99 times in 100 (2.58 * sqrt(0.25 / n))."""
DIGEST_ROWS = 262_144
"""Rows compared for duplicates, 8 bytes each; a table no longer than this is compared whole."""
DISTINCT_CAP = 4_096
"""Values counted one by one; a column with more is said to have "more than" so many."""
TOP_VALUES = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
FENCE = 3.0
"""Outlier: beyond the quartiles by more than 3 interquartile ranges, the "far out" of J. W. Tukey,
Exploratory Data Analysis (1977), §2D."""
BINS = 40
LARGEST = sys.float_info.max
DUPLICATES_RULE = (
    "equal 64-bit digests of whole rows; where not every row was compared, rows chosen by their content stand for the "
    "rest: the share is an estimate, the number found a lower bound"
)


class Profiler:
    """Takes the batches of a table in order and tells what they hold; the same for the same rows however cut."""

    def __init__(self, columns: Sequence[Column], *, typical_ranges: Mapping[str, Range] | None = None) -> None:
        """Args: typical_ranges — concept id → lowest and highest value a person would expect, canonical unit."""
        ranges = typical_ranges or {}
        self._columns = [make_summary(column, ranges.get(column.concept or "")) for column in columns]
        self._sample = RowSample([column.name for column in columns if column.kind == "number"], cap=SAMPLE_ROWS)
        self._digests = RowDigests(cap=DIGEST_ROWS)
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take one batch; its columns are found by name."""
        self._rows += batch.num_rows
        if not batch.num_rows:
            return
        for summary in self._columns:
            summary.update(batch.column(summary.column.name))
        self._sample.update(batch)
        self._digests.update(batch)

    def result(self) -> dict[str, Any]:
        """The profile so far, a JSON value; what stands in ``profile.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": self._rows,
            "sample_rows": self._sample.rows,
            "duplicates": self._duplicates(),
            "columns": [self._describe(summary) for summary in self._columns],
        }

    def _describe(self, summary: Summary) -> dict[str, Any]:
        column = summary.column
        head = {
            "name": column.name,
            "source": column.source,
            "concept": column.concept,
            "kind": column.kind,
            "unit": column.unit,
            "rows": self._rows,
            "nulls": summary.nulls,
            "nulls_share": summary.nulls / self._rows if self._rows else 0.0,
        }
        drawn = from_sample(self._sample.column(column.name)) if column.kind == "number" else {}
        if drawn and self._sample.rows < self._rows and not summary.result()["constant"]:
            drawn["distinct_is_more"] = True
        return {**head, **summary.result(), **drawn}

    def _duplicates(self) -> dict[str, Any]:
        compared, repeated = self._digests.result()
        return {
            "rows_compared": compared,
            "found": repeated,
            "share": repeated / compared if compared else 0.0,
            "complete": compared == self._rows,
            "rule": DUPLICATES_RULE,
        }


class Summary(Protocol):
    """What one kind of column remembers of its values."""

    column: Column
    nulls: int

    def update(self, values: pa.Array) -> None:
        """Take the values of one batch."""

    def result(self) -> dict[str, Any]:
        """What is exact about the column."""


def make_summary(column: Column, typical_range: Range | None) -> Summary:
    """The summary that fits the column's kind."""
    if column.kind == "number":
        return NumberSummary(column, typical_range)
    if column.kind == "time":
        return TimeSummary(column)
    return ValueSummary(column)


class NumberSummary:
    """Smallest, largest, mean and spread; batches are merged pairwise, so that a large mean does not eat the spread.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37(3) (1983), eq. 2.1
    """

    def __init__(self, column: Column, typical_range: Range | None) -> None:
        low, high = typical_range or (None, None)
        self.column, self.nulls = column, 0
        self._low, self._high = -math.inf if low is None else low, math.inf if high is None else high
        self._beyond = self._not_finite = self._count = 0
        self._mean = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf

    def update(self, values: pa.Array) -> None:
        """Take the values of one batch."""
        self.nulls += values.null_count
        numbers = as_numbers(values)
        if not len(numbers):
            return
        # A sum tells of NaN and infinity at the price of one pass; only then are they looked for one by one.
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(numbers.sum())
        if not math.isfinite(total):
            present = numbers[np.isfinite(numbers)]
            self._not_finite += len(numbers) - len(present)
            if not len(present):
                return
            # Divided first, so that a sum beyond the largest double still has a mean.
            self._merge(present, float((present / len(present)).sum()))
        else:
            self._merge(numbers, total / len(numbers))

    def _merge(self, numbers: npt.NDArray[np.float64], mean: float) -> None:
        low, high = float(numbers.min()), float(numbers.max())
        self._min, self._max = min(self._min, low), max(self._max, high)
        if low < self._low or high > self._high:
            self._beyond += int(np.count_nonzero(numbers < self._low) + np.count_nonzero(numbers > self._high))
        with np.errstate(over="ignore"):
            deviations = numbers - mean
            # Not a BLAS dot product: it would wake a thread a core, which the parser is using.
            within = float(np.square(deviations, out=deviations).sum())
        count, step = self._count + len(numbers), mean - self._mean
        self._squares += within + step * step * self._count * len(numbers) / count
        self._mean += step * len(numbers) / count
        self._count = count

    def result(self) -> dict[str, Any]:
        """What is exact about the column."""
        known = self._count > 0
        typical = None
        if math.isfinite(self._low) or math.isfinite(self._high):
            typical = [bound if math.isfinite(bound) else None for bound in (self._low, self._high)]
        return {
            "min": self._min if known else None,
            "max": self._max if known else None,
            "mean": finite(self._mean) if known else None,
            "std": finite(math.sqrt(self._squares / (self._count - 1))) if self._count > 1 else None,
            "constant": known and self._min == self._max and not self._not_finite,
            "not_finite": self._not_finite,
            "typical_range": typical,
            "beyond_typical_range": self._beyond if typical else None,
        }


class TimeSummary:
    """First and last time, whether rows are in order, and the largest step forward between neighbouring rows."""

    def __init__(self, column: Column) -> None:
        self.column, self.nulls = column, 0
        self._first: int | None = None
        self._last: int | None = None
        self._before: int | None = None
        self._largest_gap = self._steps_back = 0

    def update(self, values: pa.Array) -> None:
        """Take the values of one batch."""
        self.nulls += values.null_count
        times = values.drop_null().cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        if not len(times):
            return
        first, last = int(times.min()), int(times.max())
        self._first = first if self._first is None else min(first, self._first)
        self._last = last if self._last is None else max(last, self._last)
        steps = np.diff(times, prepend=times[0] if self._before is None else self._before)
        self._before = int(times[-1])
        self._largest_gap = max(self._largest_gap, int(steps.max()))
        self._steps_back += int(np.count_nonzero(steps < 0))

    def result(self) -> dict[str, Any]:
        """What is exact about the column. Units: seconds for the gap; times are ISO 8601, UTC."""
        return {
            "first": iso(self._first),
            "last": iso(self._last),
            "constant": self._first is not None and self._first == self._last,
            "largest_gap_s": None if self._first is None else self._largest_gap / 1e6,
            "steps_back": self._steps_back,
        }


class ValueSummary:
    """How often each value of a category, a text or a boolean occurs, while there are not too many of them."""

    def __init__(self, column: Column) -> None:
        self.column, self.nulls = column, 0
        self._distinct = Distinct(counted=column.kind != "text")

    def update(self, values: pa.Array) -> None:
        """Take the values of one batch."""
        self.nulls += values.null_count
        self._distinct.update(values)

    def result(self) -> dict[str, Any]:
        """What is exact about the column; a text's values are not repeated, they may name people."""
        found = self._distinct.result()
        top = {} if self.column.kind == "text" else {"top": self._distinct.top()}
        return {**found, "constant": found["distinct"] == 1 and not found["distinct_is_more"], **top}


class Distinct:
    """Counts of values, exact up to a cap; beyond it only that there are more."""

    def __init__(self, *, counted: bool = False) -> None:
        self._counted = counted
        self._counts: dict[Any, int] = {}
        self._is_more = False

    def update(self, values: pa.Array) -> None:
        """Take the values of one batch; costs nothing once the cap is passed."""
        if self._is_more:
            return
        # Most columns with too many values show it in their first rows: a small look saves the large one.
        if not self._counts and len(pc.unique(values.slice(0, 2 * DISTINCT_CAP))) > DISTINCT_CAP:
            self._is_more = True
            return
        for value, count in counts_of(values, counted=self._counted):
            if value is not None and (count or not self._counted):
                self._counts[value] = self._counts.get(value, 0) + count
        self._is_more = len(self._counts) > DISTINCT_CAP

    def result(self) -> dict[str, Any]:
        """How many values there are, or that there are more than the cap."""
        return {"distinct": DISTINCT_CAP if self._is_more else len(self._counts), "distinct_is_more": self._is_more}

    def top(self) -> list[dict[str, Any]] | None:
        """The most frequent values with their counts; None where there are too many to count."""
        if self._is_more:
            return None
        order = sorted(self._counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:TOP_VALUES]
        return [{"value": value, "count": count} for value, count in order]


def counts_of(values: pa.Array, *, counted: bool) -> list[tuple[Any, int]]:
    """The different values of a batch, with how often each occurs where that is ``counted``."""
    if pa.types.is_boolean(values.type):
        present = len(values) - values.null_count
        return [(True, values.true_count), (False, present - values.true_count)]
    if not counted:
        return [(value, 0) for value in pc.unique(values).to_pylist()]
    found, counts = pc.value_counts(values).flatten()
    return list(zip(found.to_pylist(), counts.to_pylist(), strict=True))


def from_sample(values: pa.ChunkedArray) -> dict[str, Any]:
    """Quantiles, far-out values and histogram of the sampled numbers of one column."""
    numbers = as_numbers(values.combine_chunks())
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return {"quantiles": None, "outliers": None, "histogram": None, "distinct": 0, "distinct_is_more": False}
    # In quarters, so that the difference of the two largest doubles of either sign is still one.
    found = dict(zip(QUANTILES, (np.quantile(numbers / 4, QUANTILES) * 4).tolist(), strict=True))
    margin = FENCE * (found[0.75] - found[0.25])
    low, high = max(found[0.25] - margin, -LARGEST), min(found[0.75] + margin, LARGEST)
    # Without any spread between the quartiles every other value would be far out: rare events, not errors.
    outside = int(np.count_nonzero((numbers < low) | (numbers > high))) if margin else 0
    return {
        "quantiles": {f"{share:g}": value for share, value in found.items()},
        "outliers": {
            "count": outside,
            "of": len(numbers),
            "share": outside / len(numbers),
            "fences": [low, high],
            "rule": f"beyond the quartiles by more than {FENCE:g} interquartile ranges, in the sample",
        },
        "distinct": len(np.unique(numbers)),
        "distinct_is_more": False,
        "histogram": histogram(numbers),
    }


def histogram(numbers: npt.NDArray[np.float64]) -> dict[str, Any] | None:
    """Counts over equal bins; None where the values are too alike, or too far apart, for bins of a size."""
    low, high = float(numbers.min()), float(numbers.max())
    width = (high / BINS) - (low / BINS)
    if not math.isfinite(high - low) or width <= 4 * np.spacing(max(abs(low), abs(high))):
        return None
    counts, edges = np.histogram(numbers, bins=BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def finite(value: float) -> float | None:
    """The value, or None where doubles were too small for it: JSON knows no infinity."""
    return value if math.isfinite(value) else None


def as_numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    """The values that are there, as doubles; no copy for a column of doubles without gaps."""
    present = values.drop_null() if values.null_count else values
    numbers: npt.NDArray[np.float64] = present.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return numbers


def iso(microseconds: int | None) -> str | None:
    """A time as ISO 8601 in UTC, to the second where it is whole."""
    if microseconds is None:
        return None
    text = str(np.datetime64(microseconds, "us"))
    return text.removesuffix(".000000") + "Z"
