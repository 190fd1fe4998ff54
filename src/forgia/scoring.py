"""Scoring: new rows through a registered model, every byte of which was checked before one of them is used."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgia import store
from forgia.errors import ForgiaError, UserError
from forgia.paths import HomePaths
from forgia.registry.contents import Contents, contents
from forgia.registry.layout import Advance, idle
from forgia.registry.models import find_model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from forgia.dataset.binding import Bindings, Question
    from forgia.dataset.dialect import ReadOptions
    from forgia.dataset.manifest import Column
    from forgia.dataset.mapping import Entry
    from forgia.dataset.parse import Field, Reject
    from forgia.features import FeatureSpec
    from forgia.vocabulary import Vocabulary

PREDICTION = "prediction"
"""float32: the probability, the value in the target's unit, or how unusual it is."""
PREDICTED = "predicted"
"""bool: whether the probability reaches the threshold; only where the model gives probabilities."""
FEATURES = "features.json"
METRICS = "metrics.json"
CARD = "README.md"
SUFFIXES = (".parquet", ".pq", ".csv")
"""What an output's name may end in."""
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CHUNK_ROWS = 16_384
"""Rows given to the network at once: enough to fill the cores, few enough to stay small in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A verified release, ready to predict."""

    ref: str
    """``name@version``."""
    digest: str
    spec: FeatureSpec
    card: str
    """The model card, Markdown."""
    columns: tuple[Column, ...]
    """The columns that new files are read by, each name once."""
    origins: tuple[Column, ...]
    """The same columns as each training dataset told of them."""
    metrics: Mapping[str, Any]
    """What the release's metrics.json says; empty where it has none."""
    session: Any
    """The onnxruntime session; None for a language model, which answers to no rows."""

    def predict(self, table: pa.Table, *, threshold: float | None = None) -> pa.Table:
        """The table with ``prediction`` and, for a classifier, ``predicted`` beside its own columns.

        Columns are named and in the units of the model's features; others pass through untouched. A model of windows
        takes the table for whole histories. Of a model that gives forecasts, what ``forecast`` says; of one that looks
        at images, what ``forgia.inspection`` does.
        Raises: UserError — a feature is missing, a column is in the way, or a threshold has no meaning here.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        limit = self.threshold(threshold)
        if self.spec.output == "quantiles":
            return self.forecast(table)
        if self.spec.samples["kind"] == "images":
            from forgia import inspection

            return inspection.inspect(self.spec, table, self._look, threshold=limit)
        if taken := {PREDICTION, PREDICTED} & set(table.column_names):
            raise UserError(f"the table already has a column {', '.join(sorted(taken))}; rename it first")
        answers = self._answers(table)
        scored = table.append_column(PREDICTION, answers)
        if limit is None:
            return scored
        return scored.append_column(PREDICTED, pc.greater_equal(answers, pa.scalar(limit, pa.float64())))

    def _answers(self, table: pa.Table) -> pa.Array:
        """An answer a row."""
        import pyarrow as pa

        from forgia import histories

        if histories.is_meant(self.spec):
            return histories.answers(self.spec, table, lambda seen: self._run(seen, rows=len(seen["numeric"])))
        return pa.array(self._run(self.spec.encode(table), rows=table.num_rows).reshape(-1), pa.float32())

    def forecast(self, table: pa.Table) -> pa.Table:
        """The next steps of every series of a table of readings: its group, the moments, and a column a quantile.

        Raises: UserError — readings are not regular, or no series has enough history.
        """
        from forgia import forecasting

        return forecasting.forecast(self.spec, table, lambda inputs: self._run(inputs, rows=len(inputs["numeric"])))

    def threshold(self, given: float | None = None) -> float | None:
        """The probability from which the answer is yes; None for a model of values. Raises: UserError."""
        if self.spec.output == "tokens":
            text = f"{self.ref} is a language model: it goes on with a text, and has no answer to rows of a table"
            raise UserError(text, hint="forgia model pull writes it to a folder; its README.md says how it is asked")
        if self.spec.output in ("value", "quantiles"):
            if given is not None:
                raise UserError(f"{self.ref} predicts values, not a probability; a threshold has no meaning for it")
            return None
        if self.spec.output == "classes" and self.spec.normal is None:
            if given is not None:
                raise UserError(f"{self.ref} knows no normal class to hold others against; a threshold has no meaning")
            return None
        if given is not None and self.spec.output != "score" and not 0.0 <= given <= 1.0:
            raise UserError(f"threshold {given}: a probability lies between 0 and 1")
        chosen = self.spec.threshold if given is None else given
        return 0.5 if chosen is None else chosen

    def _look(self, seen: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        return self._run(seen, rows=len(seen["image"]))

    def _run(self, inputs: Mapping[str, npt.NDArray[Any]], *, rows: int) -> npt.NDArray[np.float32]:
        import numpy as np

        wanted = [item.name for item in self.session.get_inputs()]
        answers = [] if rows else [np.zeros(0, dtype=np.float32)]
        for start in range(0, rows, CHUNK_ROWS):
            part = slice(start, min(start + CHUNK_ROWS, rows))
            (found,) = self.session.run(["output"], {name: inputs[name][part] for name in wanted})
            answers.append(np.asarray(found, dtype=np.float32))
        return np.concatenate(answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What scoring a file came to."""

    path: Path
    rows: int
    predicted: int | None
    """Rows answered with yes; None for a model of values."""
    threshold: float | None
    rejected: int = 0
    """Rows of the input that did not parse; they stand in ``rejects``, with line and reason."""
    rejects: Path | None = None
    unused: tuple[str, ...] = ()
    """Columns of the input that the model's data does not have; they are not in the output."""
    assumed: tuple[str, ...] = ()
    """What was taken from the training data because the input's headers do not say it; a sentence each."""


def load_release(home: HomePaths, organisation: str, ref: str, *, advance: Advance = idle) -> Model:
    """Open a registered model to predict with it.

    Raises: NotFound — no such model. IntegrityError — a byte of the release is altered; nothing of it was used.
    UserError — the release has no ONNX file, or onnxruntime is not installed.
    """
    found = find_model(home, organisation, ref)
    found.layout.verify(found.digest, advance=advance)
    release = contents(found.layout, found.digest)
    from forgia.features import FeatureSpec

    spec = FeatureSpec.from_json(release.read_json(FEATURES))
    origins = tuple(_origins(release, spec))
    return Model(
        ref=found.ref,
        digest=found.digest,
        spec=spec,
        card=release.read(CARD).decode(errors="replace") if release.find(CARD) else "",
        columns=tuple(_first_by_name(origins)),
        origins=origins,
        metrics=release.read_json(METRICS),
        session=None if spec.output == "tokens" else _session(release, found.ref),
    )


def _origins(release: Contents, spec: FeatureSpec) -> Iterator[Column]:
    """Every dataset's columns, then the features that no dataset tells of."""
    from forgia.dataset.manifest import Column, Manifest

    told: set[str] = set()
    for ref in (part.dataset for part in release.parts if part.dataset):
        columns = Manifest.from_json(release.read_json(f"datasets/{ref}/manifest.json")).columns
        told |= {column.name for column in columns}
        yield from columns
    for feature in (one for one in spec.numeric if not one.operation and one.name not in told):
        yield Column(name=feature.name, source=feature.name, unit=feature.unit)
    for category in (one for one in spec.categorical if one.name not in told):
        yield Column(name=category.name, source=category.name, kind="category", dtype="string")


def _first_by_name(origins: Iterable[Column]) -> Iterator[Column]:
    seen: set[str] = set()
    for column in origins:
        if column.name not in seen:
            seen.add(column.name)
            yield column


def _session(release: Contents, ref: str) -> Any:
    name = next((file.title for file in release.files("model") if file.title.endswith(".onnx")), None)
    if name is None:
        raise UserError(f"{ref} holds no ONNX file", hint="add onnx to the recipe's export and train it again")
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures
    except ModuleNotFoundError as error:
        raise UserError("predicting needs onnxruntime", hint="pip install 'forgia[predict]'") from error
    data = release.read(name)  # the very bytes that are checked are those that run
    try:
        return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NotImplemented) as error:
        raise UserError(f"{name} of {ref} cannot be run by onnxruntime {onnxruntime.__version__}: {error}") from error


def score_file(
    model: Model,
    source: Path,
    output: Path,
    *,
    vocabulary: Vocabulary,
    threshold: float | None = None,
    mapping: Mapping[str, Entry] | None = None,
    options: ReadOptions | None = None,
    advance: Advance = idle,
) -> Scored:
    """Read new rows as datasets are read (any header, unit and format that binds), predict, write one file.

    Rows that do not parse go to a CSV beside the output, with line and reason; ``advance`` is told the bytes read.
    Raises: UserError — a feature is missing or unclear in the input, or no row can be read; nothing is written then.
    """
    check_output(output, source)
    remarks = _Remarks(origins=model.origins)
    told = {"mapping": mapping, "options": _by_its_clock(model, options, remarks)}
    batches = _read(model, source, remarks, vocabulary=vocabulary, told=told, advance=advance)
    done = score(model, batches, output, threshold=threshold)
    done = replace(done, assumed=(*remarks.sentences(), *done.assumed), unused=tuple(remarks.unused))
    if not remarks.rejects:
        return done
    place = output.with_name(f"{output.stem}.rejects.csv")
    _write_rejects(place, remarks.rejects)
    return replace(done, rejected=len(remarks.rejects), rejects=place)


def score_images(
    model: Model, paths: Sequence[Path], output: Path, *, threshold: float | None = None, advance: Advance = idle
) -> Scored:
    """Say of image files, or of all images in folders, which class each shows; write one file.

    Images that cannot be read go to a CSV beside the output, with the reason; ``advance`` is told the bytes read.
    Raises: UserError — a path holds no image, or none can be read; nothing is written then.
    """
    from forgia.dataset.image_rows import read

    check_output(output, *paths)
    rejects: list[Reject] = []
    column = str(model.spec.samples["column"])
    batches = read(paths, column=column, on_reject=rejects.append, advance=advance)
    first = next(batches, None)
    if first is None:
        lines = "".join(f"\n  {reject.source}: {reject.reason}" for reject in rejects[:5])
        raise UserError(f"no image could be read; nothing was written{lines}")
    done = score(model, itertools.chain([first], batches), output, threshold=threshold)
    if not rejects:
        return done
    place = output.with_name(f"{output.stem}.rejects.csv")
    _write_rejects(place, rejects)
    return replace(done, rejected=len(rejects), rejects=place)


def check_output(output: Path, *sources: Path) -> None:
    """Raises: UserError — the answer cannot be written there, told before anything is read."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name a file in it, such as {output / 'scored.parquet'}")
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"{output}: the format is seen in the suffix; name it .parquet or .csv")
    if output.exists() and any(output.samefile(source) for source in sources):
        raise UserError(f"{output}: would take the place of its own input; name another file")


@dataclass(slots=True, kw_only=True)
class _Remarks:
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


def _read(
    model: Model,
    source: Path,
    remarks: _Remarks,
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


def _by_its_clock(model: Model, options: ReadOptions | None, remarks: _Remarks) -> ReadOptions | None:
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


def _write_rejects(place: Path, rejects: Iterable[Reject]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("source", "line", "reason", "text"))
    writer.writerows((reject.source, reject.line, reject.reason, reject.text) for reject in rejects)
    store.write_atomic(place, text.getvalue())


def score(model: Model, batches: Iterable[pa.Table], output: Path, *, threshold: float | None = None) -> Scored:
    """Predict for every batch of rows and write one file, Parquet or (by its suffix) CSV; whole or not at all.

    The Parquet schema carries ``forgia.model`` and ``forgia.digest``. Raises: UserError — as ``Model.predict``.
    """
    import pyarrow.compute as pc

    limit = model.threshold(threshold)
    rows = yes = 0
    batches = together(batches) if model.spec.samples["kind"] == "windows" else batches
    short: tuple[str, ...] = ()
    with _writing_beside(output) as part:
        writer = None
        try:
            for batch in batches:
                scored = model.predict(batch, threshold=threshold)
                short = tuple(_short(model.spec, batch)) if model.spec.beginning else ()
                scored = scored.replace_schema_metadata({"forgia.model": model.ref, "forgia.digest": model.digest})
                writer = writer or _writer(part, scored.schema, as_csv=output.suffix.lower() == ".csv")
                writer.write_table(scored)
                rows += scored.num_rows
                yes += (pc.sum(scored[PREDICTED]).as_py() or 0) if limit is not None else 0
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise UserError("the input holds no rows; nothing was written")
    return Scored(path=output, rows=rows, predicted=None if limit is None else yes, threshold=limit, assumed=short)


def _short(spec: FeatureSpec, table: pa.Table) -> Iterator[str]:
    """A sentence of series that are at their beginning from their first row to their last."""
    from forgia import groups, histories

    count, every = histories.short(spec, table)
    if count and spec.beginning:
        name = str(spec.samples.get("group") or "the input")
        yield groups.short_sentence(name, count, of=every, beginning=spec.beginning.rows)


def together(batches: Iterable[pa.Table]) -> list[pa.Table]:
    """All rows as one batch, where an answer needs more than a row; none where there are none."""
    import pyarrow as pa

    found = list(batches)
    return [pa.concat_tables(found)] if found else []


def _writer(path: Path, schema: pa.Schema, *, as_csv: bool) -> Any:
    if as_csv:
        from pyarrow.csv import CSVWriter

        return CSVWriter(path, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(path, schema, compression="zstd")


@contextlib.contextmanager
def _writing_beside(output: Path) -> Iterator[Path]:
    """A free name beside the output that takes its place when the block ends well, and goes when not."""
    if not output.parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.parent}")
    part = output.with_name(f".{output.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        if error.errno not in UNWRITABLE:  # the input is read here too
            raise
        reason = os.strerror(error.errno)
        raise ForgiaError(f"{output} cannot be written: {reason}; nothing is left of it") from error
    finally:
        part.unlink(missing_ok=True)
