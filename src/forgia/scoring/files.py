"""From a file of new rows, or images, to a file of answers: whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgia import store
from forgia.errors import ForgiaError, UserError
from forgia.registry.layout import Advance, idle
from forgia.scoring import rows as new_rows
from forgia.scoring.model import PREDICTED, Model

if TYPE_CHECKING:
    import pyarrow as pa

    from forgia.dataset.dialect import ReadOptions
    from forgia.dataset.mapping import Entry
    from forgia.dataset.parse import Reject
    from forgia.features import FeatureSpec
    from forgia.vocabulary import Vocabulary

SUFFIXES = (".parquet", ".pq", ".csv")
"""What an output's name may end in."""
HEAD = ("source", "line", "reason", "text")
"""Of a file of rejects."""
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


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
    """What was taken from the training data because the input's headers do not say it, and what else a person should
    know of the input; a sentence each."""
    is_forecast: bool = False
    """Whether the rows are moments to come, and none of the input is among them."""


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
    remarks = new_rows.Remarks(origins=model.origins)
    told = {"mapping": mapping, "options": new_rows.by_its_clock(model, options, remarks)}
    batches = new_rows.read(model, source, remarks, vocabulary=vocabulary, told=told, advance=advance)
    done = score(model, batches, output, threshold=threshold)
    done = replace(done, assumed=(*remarks.sentences(), *done.assumed), unused=tuple(remarks.unused))
    return _with_rejects(done, remarks.rejects)


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
    return _with_rejects(done, rejects)


def check_output(output: Path, *sources: Path) -> None:
    """Raises: UserError — the answer cannot be written there, told before anything is read."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name a file in it, such as {output / 'scored.parquet'}")
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"{output}: the format is seen in the suffix; name it .parquet or .csv")
    for place in (output, rejects_place(output)):
        if place.exists() and any(place.samefile(source) for source in sources):
            raise UserError(f"{place}: would take the place of its own input; name another file")


def rejects_place(output: Path) -> Path:
    """Where rows are kept that did not parse."""
    return output.with_name(f"{output.stem}.rejects.csv")


def _with_rejects(done: Scored, rejects: Sequence[Reject]) -> Scored:
    """The rejects written beside the output; where there are none, those of an earlier output of that name go."""
    place = rejects_place(done.path)
    if rejects:
        _write_rejects(place, rejects)
        return replace(done, rejected=len(rejects), rejects=place)
    if place.is_file() and place.read_bytes().startswith(",".join(HEAD).encode()):
        place.unlink()
    return done


def _write_rejects(place: Path, rejects: Iterable[Reject]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEAD)
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
    told: tuple[str, ...] = ()
    with _writing_beside(output) as part:
        writer = None
        try:
            for batch in batches:
                scored = model.predict(batch, threshold=threshold)
                told = tuple(_told(model.spec, batch))
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
    return Scored(
        path=output,
        rows=rows,
        predicted=None if limit is None else yes,
        threshold=limit,
        assumed=told,
        is_forecast=model.spec.output == "quantiles",
    )


def _told(spec: FeatureSpec, table: pa.Table) -> Iterator[str]:
    """What a person should know of the input: of a forecast's readings and plans, or of series that are at their
    beginning from their first row to their last."""
    from forgia import forecasting, groups, histories

    if spec.output == "quantiles":
        yield from forecasting.remarks(spec, table)
    if not spec.beginning:
        return
    count, every = histories.short(spec, table)
    if count:
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
