"""Columns of text into typed columns, whole arrays at a time, with a mask of the values that do not convert."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forgia.dataset.dialect import MISSING
from forgia.dataset.kinds import WHOLE, truth
from forgia.units import Conversion

TIME_TYPE = pa.timestamp("us", tz="UTC")
PER_SECOND = {"epoch-s": 1_000_000.0, "epoch-ms": 1_000.0, "epoch-us": 1.0, "epoch-ns": 0.001}
"""Microseconds in one unit of an epoch time."""
MISSING_VALUES = pa.array(sorted(MISSING), pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one column's texts become."""

    kind: str
    type: pa.DataType
    decimal: str = "."
    thousands: str = ""
    times: str = ""
    zoned: bool = False
    time_zone: str = "UTC"
    adverse: bool = False
    plain: bool = False
    """Yes and no are spelled alike whatever the concept: 0 and 1, true and false, sì and no."""
    true_values: tuple[str, ...] = ()
    """The values that are a yes, all others a no; empty where the words say it."""
    trim: bool = False
    conversion: Conversion = field(default_factory=Conversion)

    @property
    def what(self) -> str:
        """How a reject names what was expected."""
        if self.kind == "number":
            return "a whole number" if pa.types.is_integer(self.type) else "a number"
        if self.kind == "boolean":
            return "a yes or a no"
        return f"a time ({self.times or 'iso'})" if self.kind == "time" else "text"


def from_texts(texts: pa.Array, target: Target) -> tuple[pa.Array, pa.Array | None]:
    """Typed values in the target unit and the mask of the values that did not convert; None where all did."""
    if target.kind in ("category", "text"):
        return from_words(texts, target), None
    trimmed = pc.utf8_trim_whitespace(texts)
    trimmed = pc.if_else(pc.is_in(trimmed, value_set=MISSING_VALUES), pa.scalar(None, pa.string()), trimmed)
    values = _PARSERS[target.kind](trimmed, target)
    bad = pc.and_(pc.is_valid(trimmed), pc.is_null(values))
    return scaled(values, target), bad if pc.any(bad).as_py() else None


def from_words(texts: pa.Array, target: Target) -> pa.Array:
    """Words as they stand, without the spaces around them where the sample had such; missing ones are null."""
    return pc.utf8_trim_whitespace(texts) if target.trim else texts


def from_values(values: pa.Array, target: Target) -> tuple[pa.Array, pa.Array | None]:
    """As ``from_texts`` for an array that has a type of its own, such as a Parquet column."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if is_text(values.type):
        texts = values.cast(pa.string())
        if target.kind in ("category", "text"):
            missing = pc.is_in(texts, value_set=MISSING_VALUES)
            return pc.if_else(missing, pa.scalar(None, pa.string()), from_words(texts, target)), None
        return from_texts(texts, target)
    if target.kind == "time" and pa.types.is_temporal(values.type):
        return localised(values, target), None
    if target.kind == "number" and is_numeric(values.type):
        found = finite(values.cast(target.type, safe=False))
        return scaled(found, target), None
    if target.kind == "boolean" and pa.types.is_boolean(values.type) and not target.true_values:
        return values, None
    return from_texts(values.cast(pa.string()), target)


def finish(values: pa.Array, target: Target) -> pa.Array:
    """What is left to do for a column that the CSV reader already typed. Raises: ArrowInvalid — infinite numbers."""
    if target.kind == "number":
        if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values), skip_nulls=True).as_py():
            raise pa.ArrowInvalid("infinite or undefined numbers")
        return scaled(values, target)
    if target.kind == "time" and target.times == "iso":
        return localised(values, target)
    return from_words(values, target) if target.kind in ("category", "text") else values


def csv_type(target: Target) -> pa.DataType:
    """The type to ask of Arrow's CSV reader: the target's own where the reader understands this spelling."""
    if (
        target.kind == "number"
        and not target.thousands
        and not (target.decimal == "," and pa.types.is_integer(target.type))
    ):
        return target.type
    if target.kind == "boolean" and target.plain:
        return pa.bool_()
    if target.kind == "time" and target.times == "iso":
        return pa.timestamp("us", tz="UTC") if target.zoned else pa.timestamp("us")
    return pa.string()


def scaled(values: pa.Array, target: Target) -> pa.Array:
    """Numbers in the target unit."""
    if target.kind != "number" or target.conversion.is_identity:
        return values
    if target.conversion.scale != 1.0:
        values = pc.multiply(values, target.conversion.scale)
    return pc.add(values, target.conversion.offset) if target.conversion.offset else values


def numbers(texts: pa.Array, target: Target) -> pa.Array:
    """Texts as numbers, null where they spell none."""
    integer = pa.types.is_integer(target.type)
    sign, mark = re.escape(target.thousands), re.escape(target.decimal)
    whole = rf"(\d{{1,3}}({sign}\d{{3}})+|\d+)" if target.thousands else r"\d+"
    pattern = (
        rf"^[+-]?{whole}({mark}0*)?$" if integer else rf"^[+-]?({whole}{mark}?\d*|{mark}\d+)([eE][+-]?\d{{1,3}})?$"
    )
    plain = pc.replace_substring_regex(texts, "[\u00a0\u202f]", " ") if target.thousands == " " else texts
    plain = pc.if_else(pc.match_substring_regex(plain, pattern), plain, pa.scalar(None, pa.string()))
    if target.thousands:
        plain = pc.replace_substring(plain, target.thousands, "")
    if target.decimal != ".":
        plain = pc.replace_substring(plain, target.decimal, ".")
    plain = pc.replace_substring_regex(plain, r"^\+", "")
    if integer:
        plain = pc.replace_substring_regex(plain, r"\.0*$", "")
    values = each(plain, lambda part: part.cast(target.type))
    return values if integer else finite(values)


def finite(values: pa.Array) -> pa.Array:
    """Numbers, with null for those that are infinite or not a number."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def booleans(texts: pa.Array, target: Target) -> pa.Array:
    """Texts as yes or no, null where they are neither."""
    words = pc.replace_substring_regex(pc.utf8_lower(texts), WHOLE, r"\1")
    if target.true_values:
        return pc.if_else(pc.is_valid(words), pc.is_in(words, value_set=pa.array(target.true_values)), None)
    table = truth(adverse=target.adverse)
    yes = pc.is_in(words, value_set=pa.array([word for word, value in table.items() if value]))
    no = pc.is_in(words, value_set=pa.array([word for word, value in table.items() if not value]))
    return pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))


def times(texts: pa.Array, target: Target) -> pa.Array:
    """Texts as times in UTC, null where they spell none."""
    if target.times.startswith("epoch"):
        count = numbers(texts, Target(kind="number", type=pa.float64(), decimal=target.decimal))
        micros = pc.round(pc.multiply(count, PER_SECOND[target.times]))
        inside = pc.less(pc.abs(micros), 9e15)
        return pc.if_else(inside, micros, pa.scalar(None, pa.float64())).cast(pa.int64()).cast(TIME_TYPE)
    iso = iso_texts(texts, target)
    if target.zoned:
        return each(iso, lambda part: part.cast(TIME_TYPE))
    return localised(each(iso, lambda part: part.cast(pa.timestamp("us"))), target)


def iso_texts(texts: pa.Array, target: Target) -> pa.Array:
    """Times as ISO 8601 spells them; a text that is no time stays what it is."""
    for pattern, replacement in (
        _DAY_FIRST if target.times == "day-first" else _MONTH_FIRST if target.times == "month-first" else ()
    ):
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    for pattern, replacement in _ISO_TIDY:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    return texts


def localised(values: pa.Array, target: Target) -> pa.Array:
    """Times without a zone are taken in the target's; all end in UTC."""
    if values.type == TIME_TYPE:
        return values
    if pa.types.is_timestamp(values.type) and values.type.tz:
        return values.cast(TIME_TYPE, safe=False)
    naive = values.cast(pa.timestamp("us"), safe=False)
    if target.time_zone == "UTC":
        return naive.cast(TIME_TYPE)
    return pc.assume_timezone(naive, target.time_zone, ambiguous="earliest", nonexistent="latest").cast(TIME_TYPE)


def each(texts: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Cast an array; where that fails, halve it until the values that do not convert stand alone as nulls."""
    try:
        return cast(texts)
    except pa.ArrowInvalid:
        if len(texts) > 1:
            middle = len(texts) // 2
            return pa.concat_arrays([each(texts.slice(0, middle), cast), each(texts.slice(middle), cast)])
        return pa.nulls(1, cast(pa.nulls(1, pa.string())).type)


def is_text(kind: pa.DataType) -> bool:
    """Strings, in any of Arrow's layouts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_numeric(kind: pa.DataType) -> bool:
    """Integers, floats and decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_PARSERS: dict[str, Callable[[pa.Array, Target], Any]] = {"number": numbers, "boolean": booleans, "time": times}
_PAD = ((r"^(\d)([/.-])", r"0\1\2"), (r"^(\d\d[/.-])(\d)([/.-])", r"\10\2\3"))
_DAY_FIRST = (
    *_PAD,
    (r"^(\d\d)[/.-](\d\d)[/.-](\d{4})", r"\3-\2-\1"),
    (r"^(\d\d)[/.-](\d\d)[/.-](\d\d)($|[T ,])", r"20\3-\2-\1\4"),
)
_MONTH_FIRST = (
    *_PAD,
    (r"^(\d\d)[/.-](\d\d)[/.-](\d{4})", r"\3-\1-\2"),
    (r"^(\d\d)[/.-](\d\d)[/.-](\d\d)($|[T ,])", r"20\3-\1-\2\4"),
)
_ISO_TIDY = (
    (r"^(\d{4}-\d\d-\d\d)[, ]+", r"\1 "),
    (r"([T ])(\d)([:.])", r"\10\2\3"),
    (r"([T ]\d\d)\.(\d\d)\.(\d\d)", r"\1:\2:\3"),
    (r"([T ]\d\d)\.(\d\d)$", r"\1:\2"),
    (r"(:\d\d),(\d)", r"\1.\2"),
    (r"(\.\d{6})\d+", r"\1"),
)
