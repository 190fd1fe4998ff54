"""The points of a sweep: which parameters vary, over which values, and in which order they are tried. Pure arithmetic.

    width=32,64,128            these values
    width=64..256              every whole number; of a number with a fraction say how many: learning_rate=0.001..0.1:5
    learning_rate=1e-4..1e-2:5:log    five values, evenly apart on a logarithmic scale
    width                      what the recipe declares of it

Without a number of points every combination is one; with it the points fill the space evenly, and a longer sweep of the
same seed begins with the points of a shorter one.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from forgia.document import CoreLoader
from forgia.errors import Problem, UserError, nearest
from forgia.recipe import Parameter, Recipe, Train

LOWER_IS_BETTER = frozenset(
    (
        *("brier", "mae", "perplexity", "phm08", "pinball", "rmse"),
        *("escape_rate", "false_alarm_rate", "false_reject_rate", "missed_alarm_rate"),
        *("window_false_alarm_rate", "window_missed_alarm_rate"),
    )
)
"""Of the metrics a recipe can ask for; the others are better the higher they are."""
MOST_POINTS = 10_000
DIGITS = 6
"""Of a number with a fraction: the same text on every machine, whatever its last bits."""
DRAWS_PER_POINT = 50
"""So many points may come twice, in a space of few values, before it counts as used up."""
RANGE = re.compile(r"^(?P<low>[^.:,]*(?:\.\d+)?[^.:,]*)\.\.(?P<high>[^:,]+)(?P<options>(?::[^:]*)*)$")
Value = int | float | bool | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One parameter that varies."""

    path: str
    """As ``--set`` takes it: ``params.width`` or ``train.learning_rate``."""
    values: tuple[Value, ...] = ()
    """What it may be; empty: any number of the range."""
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False
    """Only whole numbers of the range."""

    def at(self, share: float) -> Value:
        """The value at a share of the way through, 0 to just below 1."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        high = self.high + 1 if self.is_whole else self.high
        if self.is_log:
            value = math.exp(math.log(self.low) + share * (math.log(high) - math.log(self.low)))
        else:
            value = self.low + share * (high - self.low)
        if self.is_whole:
            return min(max(math.floor(value), int(self.low)), int(self.high))
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


Point = Mapping[str, Value]
"""Path → value."""


def axes(recipe: Recipe, over: Sequence[str], *, is_grid: bool) -> list[Axis]:
    """The axes that these flags say. Raises: UserError — with every problem at once."""
    found: list[Axis] = []
    problems: list[Problem] = []
    for text in over:
        name, _, spec = (part.strip() for part in text.partition("="))
        try:
            found.append(axis(recipe, name, spec, is_grid=is_grid))
        except ValueError as error:
            problems.append(Problem("--over", None, name, str(error)))
    paths = [item.path for item in found]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    problems += [Problem("--over", None, path, "is named twice") for path in twice]
    if not over:
        problems.append(Problem("--over", None, "", "say what varies, such as --over width=32,64"))
    if problems:
        raise UserError("the sweep cannot be planned", problems=problems)
    return found


def axis(recipe: Recipe, name: str, spec: str, *, is_grid: bool) -> Axis:
    """One axis. Raises: ValueError — what is wrong with it."""
    path, declared = knob(recipe, name)
    if not spec:
        return declared_axis(path, declared, is_grid=is_grid)
    if found := RANGE.match(spec):
        return ranged(path, declared, found, is_grid=is_grid)
    values = tuple(declared.accept(number_of(item)) for item in spec.split(","))
    return Axis(path=path, values=tuple(dict.fromkeys(values)))


def knob(recipe: Recipe, name: str) -> tuple[str, Parameter]:
    """Path and declaration of what a name means: a parameter of the task, else a field of train.

    Raises: ValueError — it means neither.
    """
    section, _, field = name.rpartition(".")
    if section in ("", "params") and field in recipe.params:
        return f"params.{field}", recipe.params[field]
    if section in ("", "train") and field in Train.model_fields:
        return f"train.{field}", train_parameter(recipe, field)
    known = [*recipe.params, *(f"train.{field}" for field in Train.model_fields)]
    close = nearest(name, [*known, *Train.model_fields])
    raise ValueError(f"cannot vary; did you mean {close[0]}?" if close else f"cannot vary; known: {', '.join(known)}")


def train_parameter(recipe: Recipe, field: str) -> Parameter:
    """A field of train as a parameter: its type; limits are checked with the whole recipe."""
    kinds = kinds_of(Train.model_fields[field].annotation)
    kind = next((name for name, python in KINDS if python in kinds), "str")
    default = getattr(recipe.train, field)
    empty = {"int": 1, "float": 1.0, "bool": False, "str": ""}[kind]
    return Parameter.model_validate({"type": kind, "default": empty if default is None else default, "help": field})


KINDS = (("bool", bool), ("float", float), ("int", int), ("str", str))


def kinds_of(annotation: Any) -> set[type]:
    """The plain types that an annotation allows."""
    if isinstance(annotation, type):
        return {annotation}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return {type(item) for item in arguments}
    inner = arguments[:1] if origin is typing.Annotated else arguments
    return set().union(*map(kinds_of, inner)) if inner else set()


def declared_axis(path: str, declared: Parameter, *, is_grid: bool) -> Axis:
    """What the recipe says of a parameter. Raises: ValueError — not enough to vary it."""
    if declared.type == "bool":
        return Axis(path=path, values=(False, True))
    if declared.choices:
        return Axis(path=path, values=tuple(declared.choices))
    if not declared.range:
        raise ValueError("the recipe declares no range or choices of it; say which, such as NAME=1,2,3 or NAME=1..8")
    low, high = declared.range
    return spread(path, declared, low, high, count=None, is_log=declared.scale == "log", is_grid=is_grid)


def ranged(path: str, declared: Parameter, found: re.Match[str], *, is_grid: bool) -> Axis:
    """``LOW..HIGH[:COUNT][:log]``. Raises: ValueError — it is no range, or not of this parameter."""
    count, is_log = None, declared.scale == "log"
    for option in filter(None, found["options"].split(":")):
        if option in ("log", "linear"):
            is_log = option == "log"
        elif option.isdecimal() and int(option) >= 2:
            count = int(option)
        else:
            raise ValueError(f"{option!r} is neither a number of values (2 or more) nor log or linear")
    if declared.type not in ("int", "float"):
        raise ValueError(f"{declared.type} has no range; write its values with commas between")
    low, high = (declared.accept(number_of(found[side])) for side in ("low", "high"))
    return spread(path, declared, float(low), float(high), count=count, is_log=is_log, is_grid=is_grid)


def spread(
    path: str, declared: Parameter, low: float, high: float, *, count: int | None, is_log: bool, is_grid: bool
) -> Axis:
    """The axis of a range. Raises: ValueError — it is empty, has no logarithm, or no number of values in a grid."""
    if not low < high:
        raise ValueError(f"{low:g}..{high:g} is no range: write the lower number first")
    if is_log and low <= 0:
        raise ValueError(f"{low:g} has no logarithm; begin above 0")
    kind = declared.type
    found = Axis(path=path, low=low, high=high, is_log=is_log, is_whole=kind == "int")
    if count:
        every = [round(value) if found.is_whole else value for value in steps(found, count)]
        return Axis(path=path, values=tuple(dict.fromkeys(every)))
    if not is_grid:
        return found
    text = f"{low:g}..{high:g}"
    if not found.is_whole:
        raise ValueError(f"say how many values of {text}, such as {text}:5, or how many points with --points")
    if high - low >= MOST_POINTS:
        raise ValueError(f"{text} holds too many whole numbers; say how many, such as {text}:8")
    return Axis(path=path, values=tuple(range(int(low), int(high) + 1)))


def steps(found: Axis, count: int) -> list[float]:
    """So many values evenly apart, both ends among them."""
    smooth = replace(found, is_whole=False)
    return [float(smooth.at(place / (count - 1))) for place in range(count)]


def number_of(text: str) -> Any:
    """A value as YAML reads it. Raises: ValueError — it is not YAML."""
    try:
        return yaml.load(text, Loader=CoreLoader)  # noqa: S506 — SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not YAML") from error


def points(found: Sequence[Axis], *, count: int | None, seed: int) -> list[Point]:
    """Every combination, or so many different points all over the space. Raises: UserError — too many, or too few."""
    if count is None:
        return grid(found)
    if count > MOST_POINTS:
        raise UserError(f"{count} points are more than a sweep may have ({MOST_POINTS})")
    drawn: dict[tuple[Value, ...], Point] = {}
    for shares in itertools.islice(sequence([item.path for item in found], seed), count * DRAWS_PER_POINT):
        values = tuple(item.at(share) for item, share in zip(found, shares, strict=True))
        drawn.setdefault(values, {item.path: value for item, value in zip(found, values, strict=True)})
        if len(drawn) == count:
            break
    if len(drawn) < count:
        raise UserError(
            f"{count} different points were asked for; {len(drawn)} were found in this space",
            hint="ask for fewer with --points, or widen a range",
        )
    return list(drawn.values())


def grid(found: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis fastest. Raises: UserError — more than a sweep may have."""
    size = math.prod(len(item.values) for item in found)
    if size > MOST_POINTS:
        message = f"every combination makes {size} points, more than a sweep may have ({MOST_POINTS})"
        raise UserError(message, hint="ask for some of them with --points, such as --points 50")
    paths = [item.path for item in found]
    combinations = itertools.product(*(item.values for item in found))
    return [dict(zip(paths, values, strict=True)) for values in combinations]


PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def sequence(names: Sequence[str], seed: int) -> Iterator[tuple[float, ...]]:
    """Shares that fill the unit cube evenly: Halton's sequence, moved by the seed round each axis.

    An axis keeps its shift when others are added. Raises: UserError — more axes than the sequence is good for.
    Source: J. H. Halton, Numerische Mathematik 2 (1960) 84-90; shifts: R. Cranley and T. N. L. Patterson,
    SIAM J. Numer. Anal. 13 (1976) 904-914.
    """
    if len(names) > len(PRIMES):
        raise UserError(f"{len(names)} parameters vary; {len(PRIMES)} can", hint="fix some of them with --set")
    shifts = [random.Random(f"{seed} {name}").random() for name in names]  # noqa: S311 — no secret
    for number in itertools.count(1):
        yield tuple((radical_inverse(number, base) + shift) % 1.0 for base, shift in zip(PRIMES, shifts, strict=False))


def radical_inverse(number: int, base: int) -> float:
    """The digits of a whole number in this base, mirrored behind the point."""
    share, inverse = 1.0, 0.0
    while number:
        share /= base
        number, digit = divmod(number, base)
        inverse += share * digit
    return inverse


def sets(point: Point) -> list[str]:
    """A point as flags of ``--set``; JSON is YAML too."""
    return [f"{path}={json.dumps(value)}" for path, value in point.items()]
