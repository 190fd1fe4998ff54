"""Hand-written YAML with its line numbers, and models checked against it with every problem at once.

YAML is read by the 1.2 core schema: ``no`` and ``12:30:00`` stay text, ``1e-3`` is a number. Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from forgia.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")
Location = tuple[str | int, ...]


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's reading of plain words, refusing a key that is written twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 — PyYAML keeps it on the class

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises: yaml.MarkedYAMLError — the same key twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is written twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        """Leading zeros mean nothing; PyYAML would read them as octal."""
        return int(node.value)


CORE_SCHEMA = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)
CoreLoader.add_constructor("tag:yaml.org,2002:int", CoreLoader.construct_decimal)
for _tag, _pattern, _first in CORE_SCHEMA:
    _starts = [*_first.replace("\0", ""), *([""] if _tag == "null" else [])]
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its value, and the line of each of its fields."""

    path: Path
    value: dict[str, Any]
    lines: Mapping[Location, int]

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at this field, on its line or on that of the nearest field above it that was written."""
        place = location
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(str(self.path), self.lines.get(place, 1), dotted(location), message)


def load(path: Path) -> Document:
    """Read a YAML mapping. Raises: UserError — not there, not YAML, or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    try:
        root = yaml.compose(text, Loader=CoreLoader)
        value = yaml.load(text, Loader=CoreLoader)  # noqa: S506 — a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = Problem(str(path), mark.line + 1 if mark else None, "", error.problem or "not YAML")
        raise UserError(f"{path}: not a YAML file", problems=[problem]) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(value, dict) or root is None:
        raise UserError(f"{path}: expected fields with values, found {type(value).__name__}")
    return Document(path, value, dict(_lines(root, ())))


def check(document: Document, model: type[Model]) -> tuple[Model | None, list[Problem]]:
    """The file as a checked model, or every problem that stands in the way of that."""
    from pydantic import ValidationError

    try:
        return model.model_validate(document.value), []
    except ValidationError as error:
        return None, [document.problem(*_explain(details, model)) for details in error.errors()]


def validate(document: Document, model: type[Model]) -> Model:
    """The file as a checked model. Raises: UserError — with every problem, its line and its field."""
    found, problems = check(document, model)
    if found is None:
        raise invalid(document.path, problems)
    return found


def invalid(path: Path, problems: Iterable[Problem]) -> UserError:
    """The error that lists these problems in the order of their lines."""
    listed = sorted(
        set(problems), key=lambda problem: (problem.path, problem.line or 0, problem.field, problem.message)
    )
    return UserError(f"{path}: {len(listed)} problem{'s' if len(listed) != 1 else ''}", problems=listed)


def dotted(location: Location) -> str:
    """``("data", "columns", 2)`` as ``data.columns[2]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _lines(node: yaml.Node, location: Location) -> typing.Iterator[tuple[Location, int]]:
    yield location, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            for place, line in _lines(child, (*location, key.value)):
                yield place, key.start_mark.line + 1 if place == (*location, key.value) else line
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _lines(child, (*location, index))


def _explain(details: Any, model: type[BaseModel]) -> tuple[Location, str]:
    location: Location = tuple(details["loc"])
    if details["type"] == "missing":
        return location, "is required"
    if details["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        close = nearest(str(location[-1]), known)
        text = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return location, f"unknown field; {text}"
    message = str(details["msg"]).removeprefix("Value error, ")
    found = details.get("input")
    if isinstance(found, str | int | float | bool) and repr(found) not in message:
        message += f" (found {found!r})"
    return location, message[0].lower() + message[1:]


def _fields_at(annotation: Any, location: Location) -> list[str]:
    """The names that a model knows at a place below it."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(location[0]))
        return _fields_at(field.annotation, location[1:]) if field else []
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return next((found for part in arguments if (found := _fields_at(part, location))), [])
    if origin in (list, tuple, dict) and location and arguments:
        return _fields_at(arguments[-1] if origin is dict else arguments[0], location[1:])
    return []
