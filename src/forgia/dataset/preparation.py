"""What an import would do, before it does it: the files, their columns, what is open, and whether the files agree."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from forgia import digest
from forgia.dataset.binding import Ask, Binding, Bindings, Question, bind
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.kinds import Look
from forgia.dataset.manifest import Column
from forgia.dataset.mapping import Entry
from forgia.dataset.naming import Matched, column_names, matched
from forgia.dataset.parse import Field
from forgia.dataset.reader import Opened, fields_of, open_sources, unit_metadata
from forgia.dataset.source import COMPRESSED_SUFFIXES, TABLE_SUFFIXES
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
    file_column: str | None = None
    """Name of a column to make, in which each row has the name of its file."""
    max_rejects: float = MAX_REJECTS
    title: str = ""
    licence: str = ""

    def to_json(self) -> dict[str, Any]:
        """The key ``import`` of the manifest."""
        read = {name: getattr(self.read, name) for name in ("delimiter", "decimal", "thousands", "encoding", "format")}
        said = {**read, "file_column": self.file_column}
        return {
            **{name: value for name, value in said.items() if value is not None},
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

    def sizes(self) -> list[int]:
        """Bytes of each file."""
        return [path.stat().st_size for path in self.paths]

    def digests(self) -> list[str]:
        """The digest of each file."""
        return [digest.of_file(path) for path in self.paths]

    @property
    def paths(self) -> list[Path]:
        """Every file that is read, those that stand beside another one after it."""
        return [path for item in self.opened for path in (item.path, *item.beside)]

    def names(self) -> dict[Path, str]:
        """What each file is called: its path from the folder on that all lie in."""
        places = {path: path.absolute() for path in self.paths}
        common = os.path.commonpath([place.parent for place in places.values()])
        return {path: place.relative_to(common).as_posix() for path, place in places.items()}

    @property
    def open_questions(self) -> bool:
        """Whether a column is not bound yet."""
        return any(found.questions for found in self.bindings)

    def mapping_text(self) -> str:
        """A mapping file for what is open, to be checked by a person."""
        questions = {question.header: question for found in self.bindings for question in found.questions}
        return replace(self.bindings[0], questions=tuple(questions.values())).mapping_text()


class Open(Protocol):
    """A plan that may leave questions open."""

    @property
    def opened(self) -> tuple[Opened, ...]:
        """The files."""

    @property
    def bindings(self) -> tuple[Bindings, ...]:
        """What their columns mean."""

    def mapping_text(self) -> str:
        """A mapping file for what is open."""


def prepare(
    paths: Sequence[Path],
    vocabulary: Vocabulary,
    terms: Terms,
    *,
    ask: Ask | None = None,
    before: Sequence[Column] = (),
) -> Plan:
    """Look at the files and bind their columns; write nothing.

    Args: before — the columns of the dataset's latest version, whose names are kept where only they tell columns apart.
    Raises: UserError — files that are no tables, units that contradict their concept, files that differ in columns.
    """
    opened = open_sources(paths, terms.read, complete=True)
    if terms.file_column:
        opened = with_file_column(opened, terms.file_column, vocabulary)
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
    return _agreed(opened, bindings, vocabulary, terms, before=before)


def with_file_column(opened: Sequence[Opened], name: str, vocabulary: Vocabulary) -> list[Opened]:
    """The files with a column more, of each row's file: its path from the folder on that all lie in, bare of suffixes.

    Raises: UserError — a file has a column of that name.
    """
    for item in opened:
        if name in item.looks:
            raise UserError(f"{item.path}: has a column {name!r} of its own; name another for the files")
    # With the folder's own name, so that files of two imports do not share theirs: valve-1/0 and valve-2/0.
    common = Path(os.path.commonpath([item.path.resolve().parent for item in opened])).parent
    entry = Entry(concept=name) if name in vocabulary.concepts else Entry(keep="text")
    whole = [item.path.resolve().relative_to(common) for item in opened]
    bare = [bare_name(path) for path in whole]
    labels = bare if len({*bare}) == len(bare) else [path.as_posix() for path in whole]  # 0.csv beside 0.csv.gz
    found = []
    for item, label in zip(opened, labels, strict=True):
        looks = {**item.looks, name: Look(kind="text", example=label)}
        found.append(replace(item, looks=looks, stated={**item.stated, name: entry}, constants={name: label}))
    return found


def bare_name(path: Path) -> str:
    """A file's path without the suffixes of tables, parted by slashes."""
    text = path.as_posix()
    for suffixes in (COMPRESSED_SUFFIXES, TABLE_SUFFIXES):
        text = next((text[: -len(end)] for end in suffixes if text.lower().endswith(end)), text)
    return text


def unbound(plan: Open) -> UserError:
    """The refusal that lists every column not bound and how to bind them."""
    files: dict[tuple[str, str], list[Path]] = {}
    for item, found in zip(plan.opened, plan.bindings, strict=True):
        for question in found.questions:
            files.setdefault((question.header, question.why), []).append(item.path)
    problems = [_problem(paths, *key) for key, paths in files.items()]
    return UserError(
        f"{len({header for header, _ in files})} column(s) could not be bound to the vocabulary",
        problems=problems,
        hint="check this, save it and pass it with --mapping FILE.yaml (--write-mapping FILE.yaml saves it; "
        f"--keep-unbound keeps them as they are):\n\n{plan.mapping_text()}",
    )


def _agreed(
    opened: Sequence[Opened],
    bindings: Sequence[Bindings],
    vocabulary: Vocabulary,
    terms: Terms,
    *,
    before: Sequence[Column],
) -> Plan:
    """The columns all files share, those of one concept told apart by their headers and the numbers in them.

    Raises: UserError — a file has others, other types, or columns that cannot be told apart.
    """
    used = [[binding for binding in found.bound if not binding.ignored] for found in bindings]
    if empty := next((item for item, bound in zip(opened, used, strict=True) if not bound), None):
        raise UserError(f"{empty.path}: every column is ignored")
    own = [tuple(column_names(bound, vocabulary, before=before)) for bound in used]
    usual = Counter(frozenset(names) for names in own).most_common(1)[0][0]
    model = next(place for place, names in enumerate(own) if frozenset(names) == usual)
    like = [_source_column(name, binding) for name, binding in zip(own[model], used[model], strict=True)]
    same = [matched(bound, like, vocabulary) for bound in used]
    _check_agree(opened, used, same, like, model)
    tables: list[dict[str, tuple[Binding, Field]]] = []
    for item, found, one in zip(opened, used, same, strict=True):
        names = {binding.header: name for name, binding in one.found.items()}
        fields = fields_of(item, Bindings(bound=tuple(found)), [names[binding.header] for binding in found], terms.read)
        tables.append({field.name: (binding, field) for binding, field in zip(found, fields, strict=True)})
    columns = tuple(_column(name, _widest(name, tables)) for name in tables[0])
    plans = tuple(tuple(_aligned(column, table[column.name][1]) for column in columns) for table in tables)
    return Plan(opened=tuple(opened), bindings=tuple(bindings), columns=columns, fields=plans)


def _check_agree(
    opened: Sequence[Opened],
    used: Sequence[Sequence[Binding]],
    same: Sequence[Matched],
    like: Sequence[Column],
    model: int,
) -> None:
    """Raises: UserError — a file has other columns than most, each told once; or such as cannot be told apart."""
    unclear: dict[str, list[Path]] = {}
    differing: dict[tuple[str, str], list[Path]] = {}
    for item, bound, one in zip(opened, used, same, strict=True):
        taken = {binding.header for binding in one.found.values()}
        for name, headers in one.unclear.items():
            text = f"which of {', '.join(map(repr, headers))} it is cannot be told"
            unclear.setdefault(f"{name}\n{text}", []).append(item.path)
        sure = {header for headers in one.unclear.values() for header in headers}
        for column in like:
            if column.name not in one.found and column.name not in one.unclear:
                differing.setdefault((column.source, "is missing here"), []).append(item.path)
        for binding in bound:
            if binding.header not in taken | sure:
                differing.setdefault((binding.header, "is here and not in the others"), []).append(item.path)
    if unclear:
        raise UserError(
            f"the columns of one concept are not those of {opened[model].path}",
            problems=[_problem(paths, *key.split("\n")) for key, paths in unclear.items()],
            hint="give columns of one concept the same headers in every file, or numbers that tell them apart",
        )
    if differing:
        raise UserError(
            f"the files do not have the same columns as {opened[model].path}",
            problems=[_problem(paths, *key) for key, paths in differing.items()],
            hint="add those that differ as a dataset of their own; recipes pool datasets, whatever one of them lacks",
        )


def _problem(paths: Sequence[Path], column: str, message: str) -> Problem:
    """A problem of one or several files, told once."""
    return Problem(str(paths[0]), None, column, message + _and_others(len(paths)))


def _and_others(files: int) -> str:
    return "" if files == 1 else f" (and so in {files - 1:,} more files)" if files > 2 else " (and so in one more file)"


def _source_column(name: str, binding: Binding) -> Column:
    concept = binding.concept.id if binding.concept else None
    return Column(name=name, source=binding.header, concept=concept, unit=binding.unit)


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
