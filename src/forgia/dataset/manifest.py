"""What one dataset version is made of, as it stands in ``manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forgia import digest, store
from forgia.errors import UserError

SCHEMA_VERSION = 1
KINDS = ("number", "category", "boolean", "text", "time", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the Parquet files and where it came from."""

    name: str
    """Name in the Parquet files: the concept's id, else the tidied source name."""
    source: str
    """Header in the source file."""
    concept: str | None = None
    """Id in the vocabulary; None for a column kept unbound."""
    kind: str = "number"
    """One of number, category, boolean, text, time, image."""
    dtype: str = "double"
    """Arrow type, as ``str(pyarrow.DataType)`` spells it."""
    unit: str | None = None
    """Unit of the stored values: the concept's canonical one."""
    source_unit: str | None = None
    """Unit of the values in the source file."""
    sensitivity: str = "internal"
    """One of public, internal, confidential."""
    binding: str = "none"
    """How the header became the concept: exact, header, synonym, mapping or none."""
    confidence: float = 0.0
    """1.0 for what a person or the header itself said; lower for a synonym with words left over."""
    nulls: int = 0
    """Missing values in this column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One Parquet file of the version."""

    path: str
    """Relative to the version's folder."""
    digest: str
    size: int
    """Bytes."""
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file that was read."""

    name: str
    digest: str
    size: int
    """Bytes, as they lie on disk (compressed files are digested compressed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A dataset version; its digest names it for ever."""

    name: str
    version: int
    owner: str
    """The organisation that added it."""
    created: str
    """UTC, ISO 8601."""
    title: str = ""
    licence: str = ""
    sources: tuple[Source, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """How the sources were read; the key ``import`` of the file."""
    files: tuple[DataFile, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: int = 0
    rejected: int = 0
    """Rows of the sources that did not parse and stand in ``rejects.csv``."""

    @property
    def ref(self) -> str:
        """The one spelling that always means these bytes in one home, such as ``mill-7@2``."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """The digest of the manifest's canonical JSON."""
        return digest.of_json(self.to_json())

    def column(self, name: str) -> Column | None:
        """The column of this Parquet name."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The value of ``manifest.json``."""
        value = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        value["import"] = value.pop("options")
        for key in ("sources", "files", "columns"):
            value[key] = list(value[key])
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Raises: UserError — written by another schema version, or fields are missing."""
        fields = dict(value)
        if (found := fields.pop("schema_version", None)) != SCHEMA_VERSION:
            raise UserError(f"a dataset manifest of schema version {found}; this forgia reads version {SCHEMA_VERSION}")
        try:
            return cls(
                sources=tuple(Source(**item) for item in fields.pop("sources")),
                files=tuple(DataFile(**item) for item in fields.pop("files")),
                columns=tuple(Column(**item) for item in fields.pop("columns")),
                options=fields.pop("import"),
                **fields,
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"not a dataset manifest: {error}") from error

    def save(self, path: Path) -> None:
        """Write ``manifest.json``."""
        store.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Raises: UserError — not a manifest this forgia reads."""
        return cls.from_json(store.read_json(path))
