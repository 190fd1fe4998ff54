"""A dataset version in the home folder: found by reference, verified, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forgia import digest
from forgia.dataset.manifest import Manifest
from forgia.errors import IntegrityError, NotFound, UserError
from forgia.paths import NAME, DatasetPaths, HomePaths, checked_name

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One immutable version."""

    paths: DatasetPaths
    manifest: Manifest

    @classmethod
    def open(cls, home: HomePaths, ref: str) -> Dataset:
        """The version that ``mill-7@2`` names, or the latest one of ``mill-7``.

        Raises: NotFound — no such dataset or version (carries the nearest). UserError — not a reference.
        """
        name, version = parse_ref(ref)
        known = versions(home, name)
        if not known:
            raise NotFound("dataset", name, known=names(home), hint="forgia dataset list")
        wanted = known[-1] if version is None else version
        if wanted not in known:
            raise NotFound("dataset version", ref, known=[f"{name}@{number}" for number in known])
        return cls.at(home.dataset(name, wanted).root)

    @classmethod
    def at(cls, folder: Path) -> Dataset:
        """The version that lies in this folder, wherever it is. Raises: UserError — no manifest there."""
        paths = DatasetPaths(folder)
        if not paths.manifest.is_file():
            raise UserError(f"{folder}: not a dataset version: it holds no {paths.manifest.name}")
        return cls(paths=paths, manifest=Manifest.load(paths.manifest))

    @property
    def ref(self) -> str:
        """``name@version``."""
        return self.manifest.ref

    @property
    def digest(self) -> str:
        """The digest that names the version."""
        return self.manifest.digest

    def files(self) -> list[Path]:
        """The Parquet files, in the order of their rows. Raises: IntegrityError — a path that leaves the folder."""
        root = self.paths.root.resolve()
        found = [(root / item.path).resolve() for item in self.manifest.files]
        for path in found:
            if not path.is_relative_to(root):
                raise IntegrityError(f"a file of {self.ref}", expected=f"a path below {root}", found=str(path))
        return found

    def verify(self) -> None:
        """Digest every file again. Raises: IntegrityError — naming the first file that differs."""
        for path, item in zip(self.files(), self.manifest.files, strict=True):
            digest.verify_file(path, item.digest, what=str(path))

    def batches(self, columns: Sequence[str] | None = None, *, rows: int = 131_072) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most ``rows`` at a time. Raises: UserError — a column that is not there."""
        import pyarrow.parquet as pq

        self._check_columns(columns)
        for path in self.files():
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=rows, columns=list(columns) if columns is not None else None)

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory. Raises: UserError — a column that is not there."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._check_columns(columns)
        wanted = list(columns) if columns is not None else None
        return pa.concat_tables([pq.read_table(path, columns=wanted) for path in self.files()])

    def _check_columns(self, columns: Sequence[str] | None) -> None:
        known = [column.name for column in self.manifest.columns]
        if missing := [name for name in columns or () if name not in known]:
            raise UserError(f"{self.ref} has no column {', '.join(missing)}; it has {', '.join(known)}")


def parse_ref(ref: str) -> tuple[str, int | None]:
    """Name and version of a reference; the version is None where the latest is meant. Raises: UserError."""
    name, at, version = ref.partition("@")
    if at and not (version.isascii() and version.isdigit() and int(version) > 0):
        raise UserError(f"dataset {ref!r}: write NAME or NAME@VERSION with a version counted from 1, such as {name}@1")
    return checked_name("dataset", name), int(version) if at else None


def versions(home: HomePaths, name: str) -> list[int]:
    """The versions of a dataset that are complete, oldest first."""
    folder = home.datasets / checked_name("dataset", name)
    if not folder.is_dir():
        return []
    found = (place.name for place in folder.iterdir() if DatasetPaths(place).manifest.is_file())
    return sorted(int(text) for text in found if text.isascii() and text.isdigit())


def names(home: HomePaths) -> list[str]:
    """The datasets that have a version."""
    if not home.datasets.is_dir():
        return []
    found = sorted(place.name for place in home.datasets.iterdir() if place.is_dir() and NAME.match(place.name))
    return [name for name in found if versions(home, name)]


def list_datasets(home: HomePaths) -> list[Dataset]:
    """The latest version of every dataset, by name."""
    return [Dataset.open(home, name) for name in names(home)]
