"""New rows as a model wants them, read as datasets are read, and what is to be said of their reading."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgia.errors import UserError
from forgia.registry.layout import Advance
from forgia.scoring.model import Model

if TYPE_CHECKING:
    import pyarrow as pa

    from forgia.dataset.binding import Bindings, Question
    from forgia.dataset.dialect import ReadOptions
    from forgia.dataset.manifest import Column
    from forgia.dataset.mapping import Entry
    from forgia.dataset.parse import Field, Reject
    from forgia.features import FeatureSpec
    from forgia.vocabulary import Vocabulary


@dataclass(slots=True, kw_only=True)
class Remarks:
    """What reading the input leaves to say."""

    origins: tuple[Column, ...]
    rejects: list[Reject] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    recalled: dict[str, str] = field(default_factory=dict)
    """Header → what it is taken for because it was that in the training data."""
    read: set[str] = field(default_factory=set)
    """Headers that are read."""
    unused: list[str] = field(default_factory=list)
    empty: dict[str, str] = field(default_factory=dict)
    """Feature → its header, as long as no row has a value of it."""

    def bound(self, found: Bindings, fields: Sequence[Field], features: Collection[str]) -> None:
        """What the input's columns turned out to be."""
        self.read = {item.header for item in fields}
        self.empty = {item.name: item.header for item in fields if item.name in features}
        left = [one.header for one in found.bound if not one.ignored] + [one.header for one in found.questions]
        self.unused = [header for header in left if header not in self.read]

    def see(self, batch: pa.RecordBatch) -> None:
        """Rows that were read."""
        self.empty = {name: header for name, header in self.empty.items() if _is_empty(batch, name)}

    def sentences(self) -> Iterator[str]:
        """All of it, in the order of its coming."""
        yield from (text for header, text in self.recalled.items() if header in self.read)
        yield from self.assumed
        yield from (f"{header!r} ({name}) has no value in any row" for name, header in self.empty.items())

    def recall(self, question: Question) -> Entry | None:
        """Answer for a person who is not there, from the training data."""
        entry = as_in_training(question.header, self.origins)
        if entry:
            meaning = f"{entry.concept}, {entry.unit or 'no unit'}"
            self.recalled[question.header] = f"{question.header!r} is read as in the training data: {meaning}"
        return entry


def read(
    model: Model,
    source: Path,
    remarks: Remarks,
    *,
    vocabulary: Vocabulary,
    told: Mapping[str, Any],
    advance: Advance,
) -> Iterator[pa.Table]:
    """The input's rows by the model's columns; only the features must be there. Args: told — to ``read_bound``."""
    import pyarrow as pa

    from forgia import histories
    from forgia.dataset.reader import read_bound

    features = set(_needed(model.spec))
    batches = read_bound(
        source,
        model.columns,
        vocabulary=vocabulary,
        optional=[column.name for column in model.columns if column.name not in features],
        origins=model.origins,
        on_bound=lambda found, fields: remarks.bound(found, fields, features),
        ask=remarks.recall,
        on_reject=remarks.rejects.append,
        advance=advance,
        **told,
    )
    first = next(batches, None)
    if first is None:
        lines = "".join(f"\n  {reject.source}:{reject.line}: {reject.reason}" for reject in remarks.rejects[:5])
        raise UserError(f"{source}: no row could be read; nothing was written{lines}")
    if histories.is_meant(model.spec):
        remarks.assumed += histories.remarks(model.spec, first.schema.names)
    for batch in itertools.chain([first], batches):
        remarks.see(batch)
        yield pa.Table.from_batches([batch])


def _is_empty(batch: pa.RecordBatch, name: str) -> bool:
    return bool(batch.column(name).null_count == batch.num_rows)


def _needed(spec: FeatureSpec) -> Sequence[str]:
    """Columns that an input must have."""
    if spec.output != "quantiles":
        return spec.columns
    from forgia import forecasting

    return forecasting.needed(spec)


def by_its_clock(model: Model, options: ReadOptions | None, remarks: Remarks) -> ReadOptions | None:
    """A forecast's times that say no zone are those of the clock that the model reads the hour from."""
    from forgia.dataset.dialect import ReadOptions

    said, zone = options or ReadOptions(), model.spec.samples.get("time_zone", "UTC")
    if model.spec.output != "quantiles" or zone == said.time_zone or said.time_zone != "UTC":
        return options
    remarks.assumed.append(f"times that say no zone are read as those of {zone}")
    return replace(said, time_zone=zone)


def as_in_training(header: str, origins: Sequence[Column]) -> Entry | None:
    """What a header meant in the training data, where all of it agrees; a column's own name means its kept unit.

    Capitals, accents and signs between words matter only where a column is called just so.
    """
    from forgia.dataset.mapping import Entry
    from forgia.vocabulary import plain

    meanings = set()
    for column in origins:
        if column.concept and header == column.source:
            meanings.add((column.concept, column.source_unit))
        if column.concept and header == column.name:
            meanings.add((column.concept, column.unit))
    if not meanings:
        spelled = (one for one in origins if one.concept and plain(one.source) == plain(header))
        meanings = {(str(one.concept), one.source_unit) for one in spelled}
    if len(meanings) != 1:
        return None
    ((concept, unit),) = meanings
    return Entry(concept=concept, unit=unit)
