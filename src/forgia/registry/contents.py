"""What a release holds: its manifests by role and the files they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from forgia.errors import NotFound, UserError
from forgia.registry import oci
from forgia.registry.layout import OciLayout
from forgia.registry.oci import Descriptor
from forgia.release import DATASET, ROLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One manifest of a release."""

    role: str
    """Model, recipe, dataset or provenance; empty in a release that others wrote."""
    digest: str
    dataset: str
    """The dataset's name where the role is dataset."""
    files: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A release, opened: nothing of its files is read yet."""

    layout: OciLayout
    digest: str
    annotations: Mapping[str, str]
    parts: tuple[Part, ...]

    def files(self, role: str | None = None) -> Iterator[Descriptor]:
        """The files of one role, or all of them, in the order of the manifests."""
        for part in self.parts:
            if role in {None, part.role}:
                yield from part.files

    def find(self, name: str) -> Descriptor | None:
        """The file of this relative path."""
        return next((file for file in self.files() if file.title == name), None)

    def read(self, name: str) -> bytes:
        """A file's bytes, checked. Raises: NotFound — the release has no such file. IntegrityError."""
        file = self.find(name)
        if file is None:
            raise NotFound("file in the release", name, known=[file.title for file in self.files()])
        return self.layout.read(file)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the release; empty where it has none of this name. Raises: UserError, IntegrityError."""
        if self.find(name) is None:
            return {}
        try:
            value = json.loads(self.read(name))
        except ValueError as error:
            raise UserError(f"{name} in release {self.digest}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{name} in release {self.digest}: not a JSON object")
        return value

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files())


def contents(layout: OciLayout, digest: str) -> Contents:
    """Open the release of this digest. Raises: NotFound, IntegrityError, UserError — a document is missing or bad."""
    top = layout.descriptor(digest)
    document = layout.read_json(top)
    manifests = oci.children(document, where=digest) if top.media_type == oci.INDEX else iter([top])
    return Contents(
        layout=layout,
        digest=digest,
        annotations=texts(document.get("annotations")),
        parts=tuple(part(layout, entry) for entry in manifests),
    )


def part(layout: OciLayout, entry: Descriptor) -> Part:
    """One manifest and the files among its layers; a layer without a title stands for no file."""
    layers = oci.as_list(layout.read_json(entry).get("layers"))
    found = [Descriptor.parse(layer, where=entry.digest) for layer in layers]
    return Part(
        role=entry.annotations.get(ROLE, ""),
        digest=entry.digest,
        dataset=entry.annotations.get(DATASET, ""),
        files=tuple(layer for layer in found if layer.title),
    )


def texts(value: Any) -> dict[str, str]:
    """The entries of a JSON object that are text."""
    fields = value if isinstance(value, dict) else {}
    return {key: text for key, text in fields.items() if isinstance(text, str)}
