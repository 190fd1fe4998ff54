"""Images into rows: each file read once, to its last pixel, and kept with what is told of it; or rejected, and why."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgia import digest, images
from forgia.dataset.images import CLASS, DIGEST, FILE, HEIGHT, IMAGE, MEASURED, WIDTH, ImagePlan, class_of, reject, walk
from forgia.dataset.manifest import Source
from forgia.dataset.parse import Reject
from forgia.dataset.preparation import Plan
from forgia.dataset.profiling import Profiler
from forgia.dataset.reader import rows_of
from forgia.dataset.rejects import RejectsFile
from forgia.dataset.source import HashedFile
from forgia.dataset.writer import ParquetFileWriter
from forgia.errors import NotFound, UserError

BATCH_FILES, BATCH_BYTES = 256, 32 << 20
"""Whichever comes first ends a batch."""
READ_FILES = 64
"""Files read at once where they are only looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What reading an image file came to."""

    name: str
    digest: str | None = None
    """None: it cannot be read."""
    data: bytes = b""
    width: int = 0
    height: int = 0
    reason: str = ""
    """Why it is not kept; empty where it is."""


def copy(
    plan: ImagePlan,
    writer: ParquetFileWriter,
    rejects: RejectsFile,
    profiler: Profiler,
    *,
    advance: Callable[[int], Any] | None = None,
) -> tuple[Source, ...]:
    """Every image to its place, with what is told of it; what the sources were."""
    told, bad = listing(plan)
    rejects.write([*plan.strangers, *bad], rows=len(plan.files))
    unmeasured = [column.name for column in plan.columns if column.kind != "image"]
    first: dict[str, str] = {}
    digests: dict[str, str | None] = {}
    workers = images.Workers()
    try:
        for part in batches(plan.root, told):
            looks = workers.each(lambda name: look(plan.root, name), part.column(FILE).to_pylist())
            digests.update((seen.name, seen.digest) for seen in looks)
            looks = [once(seen, first) for seen in looks]
            rejects.write(
                [reject(plan.root / seen.name, seen.reason) for seen in looks if seen.reason], rows=writer.rows
            )
            batch = rows(plan.schema, part, looks)
            profiler.update(batch.select(unmeasured))
            writer.write(batch)
            if advance:
                advance(sum(len(seen.data) for seen in looks))
    finally:
        workers.close()
    return plan.sources(digests)


def read(
    paths: Sequence[Path], *, column: str, on_reject: Callable[[Reject], Any], advance: Callable[[int], Any]
) -> Iterator[pa.Table]:
    """Image files, and the images in folders, as tables of file names and encoded bytes.

    Args: column — name of the column of images. Raises: UserError — a folder without images; NotFound — nothing there.
    """
    images.require_pillow()
    places = list(meant(paths))
    workers = images.Workers()
    try:
        for start in range(0, len(places), READ_FILES):
            looks = workers.each(lambda place: look(place[0], place[1]), places[start : start + READ_FILES])
            for (root, name), seen in zip(places[start : start + READ_FILES], looks, strict=True):
                advance(len(seen.data))
                if seen.reason:
                    on_reject(reject(root / name, seen.reason))
            good = [seen for seen in looks if not seen.reason]
            if good:
                yield pa.table({FILE: _texts([seen.name for seen in good]), column: [seen.data for seen in good]})
    finally:
        workers.close()


def meant(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The images that these files and folders mean: where a name begins, and the name. Raises: as ``read``."""
    for path in paths:
        if not path.exists():
            raise NotFound("file", str(path))
        inside = [name for name in walk(path) if images.is_image_name(Path(name).name)] if path.is_dir() else []
        if path.is_dir() and not inside:
            raise UserError(f"{path}: no image in this folder; forgia reads {' '.join(images.SUFFIXES)}")
        yield from ((path, name) for name in inside)
        if not path.is_dir():
            yield Path(), str(path)


def look(root: Path, name: str) -> Look:
    """Read and decode one image."""
    seen = Look(name=name)
    try:
        if (size := (root / name).stat().st_size) > images.MAX_BYTES:
            return replace(seen, reason=f"{size:,} bytes; forgia reads images up to {images.MAX_BYTES:,}")
        data = (root / name).read_bytes()
        seen = replace(seen, digest=digest.of_bytes(data), data=data)
        width, height = images.decode(data).size
    except OSError as error:
        return replace(seen, reason=f"cannot be read: {error.strerror or error}")
    except UserError as error:
        return replace(seen, reason=error.message)
    return replace(seen, width=width, height=height)


def once(seen: Look, first: dict[str, str]) -> Look:
    """The same, or a refusal where these bytes have had their turn: in two parts of a split they would leak.

    Args: first — digest → the file that was first.
    """
    if seen.reason or seen.digest is None:
        return seen
    known = first.setdefault(seen.digest, seen.name)
    return seen if known == seen.name else replace(seen, reason=f"the same bytes as {known}")


def rows(schema: pa.Schema, part: pa.Table, looks: Sequence[Look]) -> pa.RecordBatch:
    """What is told of the images that are kept, with what was measured of them."""
    kept = part.filter(pa.array([not seen.reason for seen in looks], pa.bool_()))
    good = [seen for seen in looks if not seen.reason]
    measured: Mapping[str, list[Any]] = {
        IMAGE: [seen.data for seen in good],
        WIDTH: [seen.width for seen in good],
        HEIGHT: [seen.height for seen in good],
        DIGEST: [seen.digest for seen in good],
    }
    arrays = [
        pa.array(measured[field.name], field.type)
        if field.name in MEASURED
        else kept.column(field.name).combine_chunks()
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def batches(root: Path, told: pa.Table) -> Iterator[pa.Table]:
    """Rows in pieces whose images fit into memory together."""
    start = size = 0
    for place, name in enumerate(told.column(FILE).to_pylist()):
        path = root / name
        coming = path.stat().st_size if path.exists() else 0
        if place > start and (size + coming > BATCH_BYTES or place - start >= BATCH_FILES):
            yield told.slice(start, place - start)
            start, size = place, 0
        size += coming
    yield told.slice(start)


def listing(plan: ImagePlan) -> tuple[pa.Table, list[Reject]]:
    """What is told of each image, one row an image, and the lines of the sheet that cannot be used."""
    table, bad = from_sheet(plan, plan.sheet) if plan.sheet else (pa.table({FILE: _texts(plan.files)}), [])
    if CLASS not in table.column_names:
        table = table.append_column(CLASS, _texts([class_of(name) for name in table.column(FILE).to_pylist()]))
    return table, bad


def from_sheet(plan: ImagePlan, sheet: Plan) -> tuple[pa.Table, list[Reject]]:
    """The images that the sheet names in its order, then the others, of which it says nothing."""
    told, bad = sheet_rows(sheet)
    named, wrong = matched(told.column(FILE).to_pylist(), plan)
    kept = told.filter(pa.array([name is not None for name in named], pa.bool_()))
    files = [name for name in named if name is not None]
    kept = kept.set_column(kept.schema.get_field_index(FILE), kept.schema.field(FILE), _texts(files))
    others = pa.table({FILE: _texts(sorted(set(plan.files) - set(files)))})
    return pa.concat_tables([kept, others], promote_options="default"), [*bad, *wrong]


def sheet_rows(sheet: Plan) -> tuple[pa.Table, list[Reject]]:
    """All lines of the sheet, and those that do not parse."""
    (opened,), (fields,) = sheet.opened, sheet.fields
    bad: list[Reject] = []
    found = [pa.RecordBatch.from_arrays([pa.array([], field.type) for field in sheet.schema], schema=sheet.schema)]
    with HashedFile(opened.path) as file:
        for parsed in rows_of(opened, fields, file=file):
            bad += parsed.rejects
            found.append(pa.RecordBatch.from_arrays(parsed.batch.columns, schema=sheet.schema))
    return pa.Table.from_batches(found, schema=sheet.schema), bad


def matched(written: Sequence[str | None], plan: ImagePlan) -> tuple[list[str | None], list[Reject]]:
    """The image that each line of the sheet means, by its path below the folder or by its name alone; None for none."""
    known, by_name = {written_alike(name): name for name in plan.files}, dict[str, list[str]]()
    for name in plan.files:
        by_name.setdefault(written_alike(name.rpartition("/")[2]), []).append(name)
    taken = set[str]()
    found: list[str | None] = []
    bad: list[Reject] = []
    for text in written:
        plain = written_alike((text or "").strip())
        meant = [known[plain]] if plain in known else by_name.get(plain, [])
        why = trouble(meant, taken)
        found.append(None if why else meant[0])
        if why:
            bad.append(replace(reject(plan.opened[0].path, why), text=text or ""))
        else:
            taken.update(meant)
    return found, bad


def written_alike(name: str) -> str:
    """A path as every system writes it: slashes, and accents in one piece with their letters (a Mac parts them)."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def trouble(meant: Sequence[str], taken: set[str]) -> str:
    """Why a line of the sheet cannot be used; empty where it can."""
    if not meant:
        return "no image of this name lies in the folder"
    if len(meant) > 1:
        return f"several images have this name: {', '.join(meant[:5])}; write the folder, too"
    return "the image is named a second time" if meant[0] in taken else ""


def _texts(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())
