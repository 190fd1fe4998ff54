"""The documents of OCI: descriptors, manifests and indexes, as values.

Source: https://github.com/opencontainers/image-spec/tree/v1.1.1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from forgia import digest
from forgia.errors import UserError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
OCTETS = "application/octet-stream"
EMPTY_BLOB = b"{}"
"""The content of a config that says nothing; a blob of no bytes at all upsets some registries."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Allowed only on the descriptors of a layout's index.json."""
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
DESCRIPTION = "org.opencontainers.image.description"
LICENCES = "org.opencontainers.image.licenses"
AUTHORS = "org.opencontainers.image.authors"

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Larger manifests are refused: so do the registries.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md (pushing manifests)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Names a blob: what it is, its digest, its size."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The file name it stands for; empty for blobs that are no files."""
        return self.annotations.get(TITLE, "")

    @property
    def is_document(self) -> bool:
        """Whether the blob names other blobs."""
        return self.media_type in {INDEX, MANIFEST}

    def to_json(self) -> dict[str, Any]:
        """The descriptor as OCI writes it."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**value, "annotations": dict(self.annotations)} if self.annotations else value

    def noted(self, annotations: Mapping[str, str]) -> Descriptor:
        """The same blob with these annotations too."""
        return replace(self, annotations={**self.annotations, **annotations})

    @classmethod
    def parse(cls, value: Any, *, where: str) -> Descriptor:
        """Read a descriptor from somebody's JSON. Raises: UserError — not one that we can follow."""
        fields = value if isinstance(value, dict) else {}
        media_type, name, size = fields.get("mediaType"), fields.get("digest"), fields.get("size")
        annotations = fields.get("annotations") or {}
        good_name = isinstance(name, str) and digest.PATTERN.fullmatch(name)
        good_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
        good_notes = isinstance(annotations, dict) and all(isinstance(note, str) for note in annotations.values())
        if not (isinstance(media_type, str) and good_name and good_size and good_notes):
            raise UserError(
                f"{where}: a descriptor needs mediaType, a sha256 digest and a size; found {str(value)[:120]}"
            )
        return cls(media_type=media_type, digest=str(name), size=int(size or 0), annotations=annotations)


def manifest(
    *,
    artifact_type: str,
    config: Descriptor,
    layers: Iterable[Descriptor],
    annotations: Mapping[str, str],
    subject: Descriptor | None = None,
) -> dict[str, Any]:
    """An image manifest; its layers are files as they are, so that a layer's digest is its file's."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": dict(annotations),
    }
    return {**value, "subject": subject.to_json()} if subject else value


def index(manifests: Sequence[Descriptor], *, annotations: Mapping[str, str]) -> dict[str, Any]:
    """An image index without ``artifactType``: skopeo 1.9 drops that field and changes the digest."""
    return {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [entry.to_json() for entry in manifests],
        "annotations": dict(annotations),
    }


def children(document: Mapping[str, Any], *, where: str) -> Iterator[Descriptor]:
    """What an index or a manifest names, in its order. Raises: UserError — malformed."""
    listed = [*as_list(document.get("manifests")), *as_list(document.get("layers"))]
    config = document.get("config")
    for value in [config, *listed] if config is not None else listed:
        yield Descriptor.parse(value, where=where)


def as_list(value: Any) -> list[Any]:
    """A list, or an empty one where there is none."""
    return value if isinstance(value, list) else []
