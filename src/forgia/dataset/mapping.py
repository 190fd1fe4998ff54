"""Mapping files: what a person says about columns that the vocabulary cannot bind alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia import units
from forgia.dataset.kinds import tidied
from forgia.errors import NotFound, Problem, UserError, nearest
from forgia.vocabulary import KINDS, Concept, Vocabulary

SCHEMA_VERSION = 1
_KEYS = ("concept", "unit", "true_values", "ignore", "keep")
KEPT = tuple(kind for kind in KINDS if kind != "image")
"""Kinds that a column of a table can be kept as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What to do with one column; what is None is decided as without the entry."""

    concept: str | None = None
    unit: str | None = None
    """Unit of the values in the file, whatever the header says."""
    true_values: tuple[str, ...] = ()
    """Of a yes or a no: the values that are a yes, all others being a no; empty where the words say it."""
    ignore: bool = False
    """Leave the column out."""
    keep: str | None = None
    """Keep it without a concept, as this kind; ``auto`` takes the kind from the values."""

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in a mapping file."""
        found = {"concept": self.concept, "unit": self.unit, "ignore": self.ignore or None, "keep": self.keep}
        said = {"true_values": list(self.true_values)} if self.true_values else {}
        return {**{key: value for key, value in found.items() if value is not None}, **said}


def load(path: Path, vocabulary: Vocabulary) -> dict[str, Entry]:
    """Header → entry. Raises: NotFound. UserError — everything wrong in the file."""
    import yaml

    if not path.exists():
        raise NotFound(
            "mapping file", str(path), hint="forgia dataset add NAME FILE --write-mapping FILE.yaml makes one"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as a mapping file: {error}") from error
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, dict):
        raise UserError(
            f"{path}: a mapping file has a key 'columns' with one line a header",
            hint='columns: {"Vel. [rpm]": {concept: rotational_speed}}',
        )
    problems = [
        Problem(str(path), None, f"columns.{header}", message)
        for header, value in columns.items()
        for message in problems_of(value, vocabulary)
    ]
    if problems:
        raise UserError(f"{path}: {len(problems)} problem(s)", problems=problems)
    return {str(header): entry_of(value) for header, value in columns.items()}


def entry_of(value: Mapping[str, Any]) -> Entry:
    """An entry from a checked value of a mapping file."""
    keep = value.get("keep")
    unit = value.get("unit")
    return Entry(
        concept=value.get("concept"),
        unit=None if unit is None else str(unit),
        true_values=tuple(map(_value, value.get("true_values") or ())),
        ignore=bool(value.get("ignore", False)),
        keep="auto" if keep is True else keep,
    )


def problems_of(value: Any, vocabulary: Vocabulary) -> Iterable[str]:
    """What is wrong with one entry."""
    if not isinstance(value, dict) or not value:
        yield f"say one of {', '.join(_KEYS)}"
        return
    for key in value:
        if key not in _KEYS:
            yield f"unknown key {key!r}; known: {', '.join(_KEYS)}"
    concept, unit, keep = value.get("concept"), value.get("unit"), value.get("keep")
    if concept is not None and concept not in vocabulary.concepts:
        close = nearest(str(concept), vocabulary.concepts)
        yield f"no concept {concept!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
    if unit is not None and not units.is_known(str(unit)):
        yield f"{unit!r} is no unit forgia knows"
    elif unit is not None and (known := vocabulary.concepts.get(str(concept))) and (wrong := misfit(str(unit), known)):
        yield wrong
    if (said := value.get("true_values")) is not None:
        yield from _wrong_values(said, vocabulary.concepts.get(str(concept)))
    if keep is not None and keep is not True and keep not in (*KEPT, "auto"):
        yield f"keep: {keep!r} is none of {', '.join(KEPT)}"
    if concept is not None and keep is not None:
        yield "a column has a concept or is kept without one, not both"


def _wrong_values(said: Any, concept: Concept | None) -> Iterable[str]:
    if not isinstance(said, list) or not said or not all(isinstance(one, str | int | float) for one in said):
        yield 'true_values: a list of the values that are a yes, such as ["-1"]'
    elif concept is None or concept.kind != "boolean":
        yield "true_values: only for a column whose concept is a yes or a no; name it with concept"


def _value(one: Any) -> str:
    """A value of a file; YAML takes some words and all numbers for more than text."""
    return str(one).casefold() if isinstance(one, bool) else tidied(str(one))


def misfit(unit: str, concept: Concept) -> str | None:
    """Why values in this unit cannot be of that concept; None where they can."""
    if units.are_compatible(unit, concept.unit or units.DIMENSIONLESS):
        return None
    kept = f"is kept in {concept.unit!r}" if concept.unit else "has none"
    return f"unit {unit!r} does not measure {concept.id}, which {kept}"


def render(lines: Iterable[tuple[str, Entry, str]]) -> str:
    """A mapping file: header, entry and a remark for each column."""
    text = [f"schema_version: {SCHEMA_VERSION}", "columns:"]
    for header, entry, remark in lines:
        value = ", ".join(f"{key}: {_scalar(item)}" for key, item in entry.to_json().items())
        text.append(f"  {json.dumps(header, ensure_ascii=False)}: {{{value}}}" + (f"  # {remark}" if remark else ""))
    return "\n".join(text) + "\n"


def _scalar(value: Any) -> str:
    if (
        isinstance(value, str)
        and value.replace("_", "").isalnum()
        and value.casefold() not in ("no", "yes", "y", "n", "on", "off")
    ):
        return value if not value.isdigit() else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
