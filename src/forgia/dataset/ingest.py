"""A firm's files into an immutable dataset version: read, bound, converted, profiled, published by one rename."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgia import digest, store
from forgia.dataset import croissant, image_rows, images, profiling, report
from forgia.dataset.binding import Ask
from forgia.dataset.dataset import Dataset, versions
from forgia.dataset.manifest import Column, DataFile, Manifest, Source
from forgia.dataset.preparation import Plan, Terms, unbound
from forgia.dataset.preparation import prepare as prepare_tables
from forgia.dataset.reader import rows_of
from forgia.dataset.rejects import RejectsFile
from forgia.dataset.source import HashedFile
from forgia.dataset.writer import ParquetFileWriter
from forgia.errors import ForgiaError, UserError
from forgia.paths import NAME, DatasetPaths, HomePaths, checked_name
from forgia.vocabulary import Vocabulary

__all__ = ["Added", "AnyPlan", "Plan", "Terms", "add", "prepare", "unbound"]

AnyPlan = Plan | images.ImagePlan
"""What an import of tables, or of a folder of images, would do."""

Advance = Callable[[int], Any]
"""Told how many bytes were read."""
DATA_FILE = "data/part-00000.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """How an import ended."""

    dataset: Dataset
    is_new: bool
    """False where a version of these very bytes was there already."""


def prepare(
    paths: Sequence[Path],
    vocabulary: Vocabulary,
    terms: Terms,
    *,
    ask: Ask | None = None,
    before: Sequence[Column] = (),
) -> AnyPlan:
    """Look at tables, or at one folder of images, and bind what they tell; write nothing.

    Args: before — the columns of the dataset's latest version.
    Raises: UserError — files that cannot be read, columns that contradict their concept, images without a class.
    """
    if images.is_meant(paths):
        return images.prepare(paths[0], vocabulary, terms, ask=ask)
    return prepare_tables(paths, vocabulary, terms, ask=ask, before=before)


def columns_before(home: HomePaths, name: str) -> tuple[Column, ...]:
    """The columns of a dataset's latest version; none where it has no version, or can have none."""
    known = versions(home, name) if NAME.fullmatch(name) and len(name) <= 64 else []
    return Dataset.at(home.dataset(name, known[-1]).root).manifest.columns if known else ()


def add(
    home: HomePaths,
    name: str,
    paths: Sequence[Path],
    *,
    owner: str,
    vocabulary: Vocabulary,
    terms: Terms | None = None,
    ask: Ask | None = None,
    plan: AnyPlan | None = None,
    advance: Advance | None = None,
) -> Added:
    """Import files, or a folder of images, as a dataset's next version; nothing is left behind unless all went well.

    Raises: UserError — a column is not bound, too many rows are rejected, or a file is no table. ForgiaError — the
    disk is full, or another import of this name ended first.
    """
    checked_name("dataset", name)
    terms = terms or Terms()
    plan = plan or prepare(paths, vocabulary, terms, ask=ask, before=columns_before(home, name))
    if plan.open_questions:
        raise unbound(plan)
    if same := _already(home, name, plan, terms):
        return Added(dataset=same, is_new=False)
    number = (versions(home, name) or [0])[-1] + 1
    final = home.dataset(name, number)
    blank = Manifest(
        name=name,
        version=number,
        owner=owner,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        title=terms.title,
        licence=terms.licence,
        options=terms.to_json(),
    )
    with _explained(final, plan), store.building(final.root) as folder:
        _build(DatasetPaths(folder), blank, plan, vocabulary=vocabulary, max_rejects=terms.max_rejects, advance=advance)
    return Added(dataset=Dataset.at(final.root), is_new=True)


def _already(home: HomePaths, name: str, plan: AnyPlan, terms: Terms) -> Dataset | None:
    """The latest version, where it was made of these bytes in this way."""
    known = versions(home, name)
    if not known:
        return None
    latest = Dataset.at(home.dataset(name, known[-1]).root)
    before = latest.manifest
    columns = tuple(replace(column, nulls=0) for column in before.columns)
    terms_before = (dict(before.options), before.title, before.licence)
    if columns != plan.columns or plan.sizes() != [source.size for source in before.sources]:
        return None
    if terms_before != (terms.to_json(), terms.title or before.title, terms.licence or before.licence):
        return None
    return latest if plan.digests() == [source.digest for source in before.sources] else None


def _build(
    paths: DatasetPaths,
    blank: Manifest,
    plan: AnyPlan,
    *,
    vocabulary: Vocabulary,
    max_rejects: float,
    advance: Advance | None,
) -> None:
    store.private_directory(paths.data)
    ranges = {one.id: one.range for one in vocabulary.concepts.values() if one.range}
    profiler = profiling.Profiler([one for one in plan.columns if one.kind != "image"], typical_ranges=ranges)
    data = paths.root / DATA_FILE
    with RejectsFile(paths.rejects) as rejects, _writing(data, plan.schema) as writer:
        if isinstance(plan, images.ImagePlan):
            sources = image_rows.copy(plan, writer, rejects, profiler, advance=advance)
        else:
            sources = _copy(plan, writer, rejects, profiler, advance=advance)
    if not writer.rows and not rejects.count:
        raise UserError(f"{plan.opened[0].path}: no rows of data")
    rejects.judge(rows=writer.rows, max_share=max_rejects)
    data.chmod(store.file_mode(data.parent))
    manifest = replace(
        blank,
        sources=sources,
        files=(DataFile(path=DATA_FILE, digest=digest.of_file(data), size=data.stat().st_size, rows=writer.rows),),
        columns=tuple(replace(column, nulls=writer.nulls[column.name]) for column in plan.columns),
        rows=writer.rows,
        rejected=rejects.count,
    )
    _describe(paths, manifest, profiler.result(), vocabulary)


def _copy(
    plan: Plan,
    writer: ParquetFileWriter,
    rejects: RejectsFile,
    profiler: profiling.Profiler,
    *,
    advance: Advance | None,
) -> tuple[Source, ...]:
    """Every row to its place; what the sources were."""
    sources, names = [], plan.names()
    for opened, fields in zip(plan.opened, plan.fields, strict=True):
        with HashedFile(opened.path, advance=advance) as file:
            for parsed in rows_of(opened, fields, file=file):
                rejects.write(parsed.rejects, rows=writer.rows)
                profiler.update(parsed.batch)
                writer.write(parsed.batch)
            sources.append(Source(name=names[opened.path], digest=file.digest(), size=file.size))
        sources += [Source(name=names[p], digest=digest.of_file(p), size=p.stat().st_size) for p in opened.beside]
    return tuple(sources)


def _describe(paths: DatasetPaths, manifest: Manifest, profile: dict[str, Any], vocabulary: Vocabulary) -> None:
    ids = {one.id: one.semantic_id for one in vocabulary.concepts.values()}
    store.write_json(paths.profile, profile)
    store.write_atomic(paths.report, report.html(manifest, profile))
    store.write_json(paths.croissant, croissant.croissant(manifest, semantic_ids=ids))
    manifest.save(paths.manifest)


@contextlib.contextmanager
def _writing(path: Path, schema: pa.Schema) -> Iterator[ParquetFileWriter]:
    writer = ParquetFileWriter(path, schema)
    try:
        yield writer
        writer.close()
    except BaseException:
        writer.abandon()
        raise


@contextlib.contextmanager
def _explained(final: DatasetPaths, plan: AnyPlan) -> Iterator[None]:
    """Say what a full disk or a lost race means; leave no empty folder of a dataset that did not come to be."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
            taken = f"{final.root.parent.name}@{final.root.name}"
            raise ForgiaError(f"another import ended first and is {taken}", hint="run it again") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(final.root.parent, plan) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(f"{final.root.parent}: cannot write there: {error.strerror}") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            final.root.parent.rmdir()


def _disk_full(folder: Path, plan: AnyPlan) -> ForgiaError:
    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free
    return ForgiaError(
        f"{folder}: the disk is full: {free:,} bytes are free, importing needs up to"
        f" {plan.size:,}; nothing was imported",
        hint="free some space, or put FORGIA_HOME on a larger disk",
    )
