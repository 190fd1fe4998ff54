"""What an import would do, before it does it: the files, their columns, what is open, and whether the files agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgia.dataset.binding import Ask, Binding, Bindings, Question, bind, column_names
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.manifest import Column
from forgia.dataset.mapping import Entry
from forgia.dataset.parse import Field
from forgia.dataset.reader import Opened, fields_of, inspect, unit_metadata
from forgia.dataset.source import expand
from forgia.errors import Problem, UserError
from forgia.vocabulary import Vocabulary

MAX_REJECTS = 0.01
"""Share of rows that may be rejected before the import refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a person says about an import; part of what makes two imports the same."""

    read: ReadOptions = field(default_factory=ReadOptions)
    mapping: Mapping[str, Entry] | None = None
    keep_unbound: bool = False
    max_rejects: float = MAX_REJECTS
    title: str = ""
    licence: str = ""

    def to_json(self) -> dict[str, Any]:
        """The key ``import`` of the manifest."""
        read = {name: getattr(self.read, name) for name in ("delimiter", "decimal", "thousands", "encoding")}
        return {
            **{name: value for name, value in read.items() if value is not None},
            "header": self.read.header,
            "columns": list(self.read.columns),
            "time_zone": self.read.time_zone,
            "mapping": {header: entry.to_json() for header, entry in sorted((self.mapping or {}).items())},
            "keep_unbound": self.keep_unbound,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an import would do: the files, their columns and what is still open."""

    opened: tuple[Opened, ...]
    bindings: tuple[Bindings, ...]
    columns: tuple[Column, ...]
    fields: tuple[tuple[Field, ...], ...]
    """One tuple a file, in the order of ``columns``."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the Parquet files."""
        fields = zip(self.columns, self.fields[0], strict=True)
        return pa.schema([pa.field(c.name, f.target.type, metadata=unit_metadata(c.unit)) for c, f in fields])

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(item.path.stat().st_size for item in self.opened)

    @property
    def open_questions(self) -> bool:
        """Whether a column is not bound yet."""
        return any(found.questions for found in self.bindings)

    def mapping_text(self) -> str:
        """A mapping file for what is open, to be checked by a person."""
        questions = {question.header: question for found in self.bindings for question in found.questions}
        return replace(self.bindings[0], questions=tuple(questions.values())).mapping_text()


def prepare(paths: Sequence[Path], vocabulary: Vocabulary, terms: Terms, *, ask: Ask | None = None) -> Plan:
    """Look at the files and bind their columns; write nothing.

    Raises: UserError — files that are no tables, units that contradict their concept, files that differ in columns.
    """
    opened = [inspect(path, terms.read) for path in expand(paths)]
    answers: dict[str, Entry] = dict(terms.mapping or {})

    def remembered(question: Question) -> Entry | None:
        answer = ask(question) if ask else None
        if answer is not None:
            answers[question.header] = answer
        return answer

    everywhere = {header for item in opened for header in item.looks}
    bindings = []
    for item in opened:
        mine = {header: entry for header, entry in answers.items() if header in item.looks or header not in everywhere}
        entries, path = {**item.stated, **mine}, str(item.path)
        bindings.append(
            bind(item.looks, vocabulary, mapping=entries, keep_unbound=terms.keep_unbound, ask=remembered, path=path)
        )
    if any(found.questions for found in bindings):
        return Plan(opened=tuple(opened), bindings=tuple(bindings), columns=(), fields=())
    return _agreed(opened, bindings, vocabulary, terms)


def unbound(plan: Plan) -> UserError:
    """The refusal that lists every column not bound and how to bind them."""
    problems = [
        Problem(str(item.path), None, question.header, question.why)
        for item, found in zip(plan.opened, plan.bindings, strict=True)
        for question in found.questions
    ]
    return UserError(
        f"{len(problems)} column(s) could not be bound to the vocabulary",
        problems=problems,
        hint="check this, save it and pass it with --mapping FILE.yaml (--write-mapping FILE.yaml saves it; "
        f"--keep-unbound keeps them as they are):\n\n{plan.mapping_text()}",
    )


def _agreed(opened: Sequence[Opened], bindings: Sequence[Bindings], vocabulary: Vocabulary, terms: Terms) -> Plan:
    """The columns all files share. Raises: UserError — a file has others, or other types."""
    tables: list[dict[str, tuple[Binding, Field]]] = []
    for item, found in zip(opened, bindings, strict=True):
        used = [binding for binding in found.bound if not binding.ignored]
        names = column_names(used, vocabulary)
        fields = fields_of(item, found, names, terms.read)
        tables.append({name: (binding, field) for name, binding, field in zip(names, used, fields, strict=True)})
    first = tables[0]
    if not first:
        raise UserError(f"{opened[0].path}: every column is ignored")
    problems = [
        Problem(str(item.path), None, name, "is not in every file")
        for item, table in zip(opened, tables, strict=True)
        for name in sorted(set(first) ^ set(table))
    ]
    if problems:
        raise UserError(f"the files do not have the same columns as {opened[0].path}", problems=problems)
    columns = tuple(_column(name, _widest(name, tables)) for name in first)
    plans = tuple(tuple(_aligned(column, table[column.name][1]) for column in columns) for table in tables)
    return Plan(opened=tuple(opened), bindings=tuple(bindings), columns=columns, fields=plans)


def _widest(name: str, tables: Sequence[Mapping[str, tuple[Binding, Field]]]) -> tuple[Binding, Field]:
    """The first file's column, in the type that holds every file's values."""
    binding, field = tables[0][name]
    found = [table[name] for table in tables]
    told = next((item for item in found if item[0].look.kind), found[0])
    if binding.concept is None and len({item.target.kind for _, item in found if item.target.kind}) > 1:
        target = replace(told[1].target, kind="text", type=pa.string())
    elif any(item.target.type == pa.float64() for _, item in found):
        target = replace(field.target, type=pa.float64())
    else:
        target = field.target
    return binding, replace(field, target=replace(field.target, kind=target.kind, type=target.type))


def _aligned(column: Column, field: Field) -> Field:
    types = {"int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_(), "string": pa.string()}
    kind = types.get(column.dtype, field.target.type)
    return replace(field, target=replace(field.target, kind=column.kind, type=kind))


def _column(name: str, bound: tuple[Binding, Field]) -> Column:
    binding, field = bound
    concept = binding.concept
    return Column(
        name=name,
        source=binding.header,
        concept=concept.id if concept else None,
        kind=field.target.kind,
        dtype=str(field.target.type),
        unit=concept.unit if concept else binding.unit,
        source_unit=binding.unit,
        sensitivity=concept.sensitivity if concept else "internal",
        binding=binding.how,
        confidence=binding.confidence,
    )
