"""Features: how a table's columns become the numbers a model sees; fitted on the training part, shipped with the model.

Only numpy and pyarrow are needed, so that a prediction is made the same way with and without torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia.errors import Problem, UserError
from forgia.reference import Beginning, Conditions

SCHEMA_VERSION = 1
Output = Literal["probability", "value", "score", "quantiles", "classes", "tokens"]
"""A probability that the target is true; the target's value in its unit; how unusual a sample is; values ahead, each
with its quantiles; a probability of each class; the next token."""
QUANTILES = 48
"""Intervals of equal share that the training values are cut into, unless a trainer knows better edges.

Source: default n_bins of the piecewise-linear encodings in rtdl_num_embeddings 0.0.12.
"""
MAX_CATEGORIES = 254
"""Rarer categories than the most frequent ones are encoded as unknown.

Source: with the code of unknown, the 255 that scikit-learn 1.9's histogram trees take.
"""

Array = npt.NDArray[Any]

LARGEST = float(np.finfo(np.float32).max)
"""A greater value would be infinite to a model; it is missing instead."""

OPERATIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "difference": lambda first, second: first - second,
    "product": lambda first, second: first * second,
    "ratio": lambda first, second: np.divide(first, second, out=np.full_like(first, np.nan), where=second != 0),
}
"""How two measurements make a third; a ratio to zero is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """A measurement made of two others, such as power of torque and speed."""

    name: str
    operation: str
    """A key of OPERATIONS."""
    of: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericFeature:
    """A measurement: its unit and what the training part says of its values."""

    name: str
    unit: str | None = None
    """Values given to the model must be in this unit."""
    mean: float = 0.0
    std: float = 1.0
    """Population standard deviation; 1 where the values are constant."""
    edges: tuple[float, ...] = ()
    """Where values are cut into intervals, from the least to the greatest; at least two, or none if constant."""
    has_missing: bool = False
    """A value is missing somewhere in the training part."""
    operation: str | None = None
    """How it is made of the columns ``of``; None for a column of the table."""
    of: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns of the table it is read from."""
        return self.of or (self.name,)

    def values(self, table: pa.Table) -> Array:
        """Its values as float64, NaN where missing. Shapes: (rows,)."""
        columns = [_floats(table.column(name)) for name in self.sources]
        with np.errstate(over="ignore"):  # what overflows is missing, as the next line says
            values = OPERATIONS[self.operation](*columns) if self.operation else columns[0]
        values[~(np.abs(values) <= LARGEST)] = np.nan
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalFeature:
    """A name or class: position 0 stands for unknown and missing, ``categories[i]`` for i + 1."""

    name: str
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of codes, the one of unknown included."""
        return len(self.categories) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What a model takes and gives."""

    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    target: str
    target_unit: str | None = None
    output: Output
    """What a model gives."""
    samples: Mapping[str, Any] = field(default_factory=lambda: {"kind": "rows"})
    """What one sample is: its kind, and the numbers of that kind."""
    quantiles: tuple[float, ...] = ()
    """Shares of outcomes below the foretold values, where the output is quantiles."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the model's answers, where the output is classes."""
    normal: str | None = None
    """The class that means nothing is wrong; a threshold then says from which probability of all others on."""
    target_mean: float = 0.0
    target_std: float = 1.0
    """Of the training part; the share of true rows where the output is a probability."""
    cap: float | None = None
    """A greater value of the target counted as this one."""
    conditions: Conditions | None = None
    """Numbers are told as distances from what is usual under the same settings."""
    beginning: Beginning | None = None
    """Numbers of windows are told as distances from those at the beginning of their series."""
    threshold: float | None = None
    """From this probability, or score, on the answer is yes; chosen on the validation part."""

    def encode(self, table: pa.Table) -> dict[str, Array]:
        """The matrices of a table whose columns are named, and in the units, as in this spec.

        Shapes: ``numeric`` (rows, features) float32, NaN where missing; ``categorical`` (rows, features) int64.
        Raises: UserError — columns are not there or are not numbers; all of them at once.
        """
        self._check(table)
        numeric = [feature.values(table) for feature in self.numeric]
        categorical = [codes(table.column(feature.name), feature.categories) for feature in self.categorical]
        return {
            "numeric": _stack(numeric, rows=table.num_rows, dtype=np.float32),
            "categorical": _stack(categorical, rows=table.num_rows, dtype=np.int64),
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that are read: numbers, then categories."""
        named = [name for feature in self.numeric for name in feature.sources]
        return tuple(dict.fromkeys([*named, *(feature.name for feature in self.categorical)]))

    def standardise(self, numeric: Array, firsts: npt.NDArray[np.int64]) -> Array:
        """Encoded numbers of whole series as distances from the usual, where the spec knows what is usual.

        Args: firsts — the first row of each series, ascending. Shapes: (rows, features) to the same, float32.
        """
        if self.conditions:
            numeric = self.conditions.standardise(numeric)
        if self.beginning:
            numeric = self.beginning.standardise(numeric, firsts)
        return numeric.astype(np.float32, copy=False)

    @property
    def scales(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each number that a network is shown: 0 and 1 where it is a distance."""
        if self.conditions or self.beginning:
            return (0.0,) * len(self.numeric), (1.0,) * len(self.numeric)
        return tuple(item.mean for item in self.numeric), tuple(item.std for item in self.numeric)

    @property
    def normal_place(self) -> int | None:
        """The position of the normal class; None where none is named."""
        return self.classes.index(self.normal) if self.normal in self.classes else None

    def with_threshold(self, threshold: float | None) -> FeatureSpec:
        """The same with a decision threshold."""
        return replace(self, threshold=threshold)

    def to_json(self) -> dict[str, Any]:
        """The value of ``features.json``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSpec:
        """Raises: UserError — written by another schema version, or fields are missing."""
        fields = dict(value)
        if (found := fields.pop("schema_version", None)) != SCHEMA_VERSION:
            raise UserError(f"features of schema version {found}; this forgia reads version {SCHEMA_VERSION}")
        try:
            numeric = tuple(
                NumericFeature(**{**item, "edges": tuple(item["edges"]), "of": tuple(item.get("of", ()))})
                for item in fields.pop("numeric")
            )
            categorical = tuple(
                CategoricalFeature(name=item["name"], categories=tuple(item["categories"]))
                for item in fields.pop("categorical")
            )
            named = {name: tuple(fields.pop(name, ())) for name in ("quantiles", "classes")}
            usual = {"conditions": Conditions.from_json, "beginning": Beginning.from_json}
            told = {name: read(fields.pop(name)) for name, read in usual.items() if fields.get(name)}
            return cls(numeric=numeric, categorical=categorical, **{**fields, **named, **told})
        except (KeyError, TypeError) as error:
            raise UserError(f"not a features file: {error}") from error

    def _check(self, table: pa.Table) -> None:
        numbers = dict.fromkeys(name for feature in self.numeric for name in feature.sources)
        problems = [
            Problem("table", None, name, "no such column") for name in self.columns if name not in table.column_names
        ] + [
            Problem("table", None, name, f"not numbers but {table.schema.field(name).type}")
            for name in numbers
            if name in table.column_names and not _is_numeric(table.schema.field(name).type)
        ]
        if problems:
            raise UserError(f"{len(problems)} column(s) that the model needs cannot be used", problems=problems)


def fit(
    table: pa.Table,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    target: str,
    derived: Sequence[Derivation] = (),
    units: Mapping[str, str | None] | None = None,
    output: Output | None = None,
) -> FeatureSpec:
    """Learn a spec from the training part of the data and from nothing else.

    Args: output — None: a probability for a boolean target, else a value.
    Raises: UserError — the target is not boolean and not a number, or has no value.
    """
    units = units or {}
    column = table.column(target)
    if not _is_numeric(column.type):
        raise UserError(f"target {target} is {column.type}; it must be boolean or a number")
    values = _floats(column)
    values = values[~np.isnan(values)]
    if not values.size and output != "score":
        raise UserError(f"target {target} has no value in the training part")
    values = values if values.size else np.zeros(1)
    made = [NumericFeature(name=item.name, operation=item.operation, of=item.of) for item in derived]
    measured = [NumericFeature(name=name, unit=units.get(name)) for name in numeric]
    return FeatureSpec(
        numeric=tuple(fit_numeric(feature, feature.values(table)) for feature in (*measured, *made)),
        categorical=tuple(fit_categorical(name, count_categories(table.column(name))) for name in categorical),
        target=target,
        target_unit=units.get(target),
        output=output or ("probability" if pa.types.is_boolean(column.type) else "value"),
        target_mean=float(values.mean()),
        target_std=float(values.std()) or 1.0,
    )


def targets(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """The target as float32; true is 1, a missing value NaN.

    Shapes: (rows,).
    """
    return _floats(table.column(name)).astype(np.float32)


def fit_numeric(feature: NumericFeature, values: Array) -> NumericFeature:
    """The measurement with what these training values say of it. Shapes: (rows,), NaN where missing."""
    missing = np.isnan(values)
    present = values[~missing]
    if not present.size:
        return replace(feature, has_missing=True)
    edges = np.unique(np.quantile(present, np.linspace(0.0, 1.0, QUANTILES + 1)))
    return replace(
        feature,
        mean=float(present.mean()),
        std=float(present.std()) if edges.size > 1 else 1.0,
        edges=tuple(float(edge) for edge in edges) if edges.size > 1 else (),
        has_missing=bool(missing.any()),
    )


def count_categories(column: pa.ChunkedArray) -> Counter[str]:
    """How often each text stands in a column; missing ones are not counted."""
    found = pc.value_counts(_texts(column).drop_null())
    return Counter(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))


def fit_categorical(name: str, counts: Mapping[str, int]) -> CategoricalFeature:
    """The most frequent texts of the training part; of equally frequent ones the first by name."""
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_CATEGORIES]
    return CategoricalFeature(name=name, categories=tuple(sorted(frequent)))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """float64, NaN for null and for the infinite: a sensor's overflow is no measurement."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = column.cast(pa.float64()).to_numpy().astype(np.float64, copy=True)
    values[~np.isfinite(values)] = np.nan
    return values  # type: ignore[no-any-return]


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())


def codes(column: pa.ChunkedArray, categories: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Positions of a column's texts among the categories, from 1 on; 0 for the unknown and the missing."""
    found = pc.index_in(_texts(column), value_set=pa.array(categories, pa.string()), skip_nulls=True)
    return np.asarray(pc.add(pc.fill_null(found, -1), 1).to_numpy(), dtype=np.int64)


def _stack(columns: list[Array], *, rows: int, dtype: type) -> Array:
    matrix: Array = np.empty((rows, len(columns)), dtype=dtype)
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix
