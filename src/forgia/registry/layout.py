"""An OCI image layout on disk: blobs by digest, tags that never move, aliases that do; safe with several writers.

    oci-layout          {"imageLayoutVersion": "1.0.0"}
    index.json          one descriptor a tag, replaced as a whole under a lock
    blobs/sha256/<hex>  read-only; placed by rename, so that a blob is whole or absent
    aliases.jsonl       who pointed which alias where; appended to, never rewritten

Blobs come first and need no lock, since their name is their content; the index comes last and makes them a release.
Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia import digest, store
from forgia.errors import ForgiaError, IntegrityError, NotFound, Refused, UserError
from forgia.registry import blobs, oci
from forgia.registry.oci import Descriptor
from forgia.release import is_version, version_tag

LAYOUT_FILE = {"imageLayoutVersion": "1.0.0"}
TAG = re.compile(r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$")
"""Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md (pull)"""
DIGEST_PREFIX = re.compile(r"^(?:sha256:)?([0-9a-f]{6,64})$")
ALIAS = "io.forgia.alias"
"""Annotation on the descriptor of a tag that may move."""

_one_thread = threading.Lock()
"""POSIX locks tell processes apart, not threads; held only for the moment of replacing an index."""

ChooseTag = Callable[[Mapping[str, str]], str]
"""From the tags there are (tag → digest) to the tag to set; called under the lock."""

Advance = Callable[[float], None]
"""Fed with bytes done, for a progress bar."""


def idle(amount: float) -> None:
    """Progress that no one looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification has read."""

    digest: str
    files: int
    """Blobs that stand for a file."""
    size: int
    """Bytes of all blobs."""


class OciLayout:
    """One repository: a folder that any OCI tool reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index_path = root / "index.json"
        self.lock_path = root / ".lock"
        self.alias_log = root / "aliases.jsonl"
        self.blobs = root / "blobs" / "sha256"

    def exists(self) -> bool:
        """Whether there is a layout here."""
        return (self.root / "oci-layout").is_file()

    def create(self) -> OciLayout:
        """Make the folder a layout, or complete one whose making was cut short. Raises: Refused — not writable."""
        with writing(self.root):
            store.private_directory(self.blobs)
            if not self.exists():
                store.write_json(self.root / "oci-layout", LAYOUT_FILE)
            with self._exclusively():
                if not self.index_path.exists():
                    self._replace([])
        return self

    # Blobs

    def path(self, name: str) -> Path:
        """Where the blob of this digest lies."""
        return self.blobs / digest.hexadecimal(name)

    def add_file(
        self, path: Path, *, media_type: str = oci.OCTETS, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Copy a file in; it is read once. Later changes to the file change nothing here."""
        with writing(self.root):
            name, size = blobs.take(path, self.blobs)
        return Descriptor(media_type=media_type, digest=name, size=size, annotations=annotations or {})

    def add_bytes(
        self, data: bytes, *, media_type: str = oci.OCTETS, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Store these bytes."""
        with writing(self.root):
            name = blobs.put(data, self.blobs)
        return Descriptor(media_type=media_type, digest=name, size=len(data), annotations=annotations or {})

    def add_json(
        self, value: Mapping[str, Any], *, media_type: str, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Store a document in its canonical spelling, so that equal documents are one blob."""
        return self.add_bytes(digest.canonical_json(value), media_type=media_type, annotations=annotations)

    def read(self, blob: Descriptor) -> bytes:
        """The bytes of a blob, checked. Raises: IntegrityError — missing or altered; names the file and its digest."""
        path = self.path(blob.digest)
        data = path.read_bytes() if path.is_file() else None
        found = "nothing" if data is None else digest.of_bytes(data)
        if data is None or found != blob.digest:
            raise IntegrityError(self._what(blob), expected=blob.digest, found=found)
        return data

    def read_json(self, blob: Descriptor) -> dict[str, Any]:
        """A document of the layout. Raises: IntegrityError — altered. UserError — no JSON object, or too large."""
        if blob.size > oci.MAX_DOCUMENT_BYTES:
            raise UserError(f"{self._what(blob)}: {blob.size} bytes are too many for a document")
        try:
            value = json.loads(self.read(blob))
        except ValueError as error:
            raise UserError(f"{self._what(blob)}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{self._what(blob)}: not a JSON object")
        return value

    def walk(self, name: str) -> Iterator[Descriptor]:
        """The blob of this digest and every blob reachable from it, each once, parents before children.

        Documents are checked before they are followed. Raises: IntegrityError, UserError, NotFound.
        """
        waiting, seen = [self.descriptor(name)], set()
        while waiting:
            blob = waiting.pop()
            if blob.digest in seen:
                continue
            seen.add(blob.digest)
            yield blob
            if blob.is_document:
                below = list(oci.children(self.read_json(blob), where=str(self.path(blob.digest))))
                waiting.extend(reversed(below))

    def descriptor(self, name: str) -> Descriptor:
        """The index entry of a tagged digest, without its tag. Raises: NotFound."""
        for entry in self._entries():
            if entry.digest == name:
                return Descriptor(media_type=entry.media_type, digest=name, size=entry.size)
        raise NotFound("release", name, known=self.tags(), hint=f"the registry folder is {self.root}")

    def verify(self, name: str, *, advance: Advance = idle) -> Verified:
        """Read every reachable blob again; ``advance`` is told the bytes of each.

        Raises: IntegrityError — at the first that is not what its digest says.
        """
        files = size = 0
        for blob in self.walk(name):
            if not blob.is_document:
                digest.verify_file(self.path(blob.digest), blob.digest, what=self._what(blob))
            self._check_size(blob)
            files += bool(blob.title)
            size += blob.size
            advance(blob.size)
        return Verified(digest=name, files=files, size=size)

    # Tags

    def tags(self) -> dict[str, str]:
        """Every tag, aliases included, with the digest it names."""
        return {tag: entry.digest for entry in self._entries() if (tag := entry.annotations.get(oci.REF_NAME))}

    def aliases(self) -> dict[str, str]:
        """The tags that may move, with the digest each names at present."""
        moving = (entry for entry in self._entries() if ALIAS in entry.annotations)
        return {entry.annotations[oci.REF_NAME]: entry.digest for entry in moving}

    def resolve(self, ref: str) -> str:
        """The digest behind a version, an alias, a digest or an unambiguous beginning of one. Raises: NotFound."""
        tags = self.tags()
        if found := tags.get(version_tag(ref)):
            return found
        if match := DIGEST_PREFIX.fullmatch(ref):
            beginning = f"sha256:{match.group(1)}"
            digests = sorted({name for name in tags.values() if name.startswith(beginning)})
            if len(digests) == 1:
                return digests[0]
            if digests:
                raise NotFound("release", ref, hint=f"{len(digests)} digests begin so: {', '.join(digests)}")
        raise NotFound("release", ref, known=tags, hint=f"the registry folder is {self.root}")

    def tag(self, blob: Descriptor, tag: str) -> None:
        """Give a stored release a tag for ever. Raises: Refused — the tag is another release's."""
        self._publish(blob, lambda _: tag)

    def point(self, alias: str, name: str, *, at: str, by: str) -> str | None:
        """Let an alias name a tagged digest; returns the digest that it named before.

        Raises: UserError — the alias looks like a version or a digest. Refused — it is an immutable tag.
        """
        if not TAG.fullmatch(alias) or is_version(alias) or DIGEST_PREFIX.fullmatch(alias):
            raise UserError(f"alias {alias!r}: choose a word such as champion, not a version or a digest")
        with writing(self.root), self._exclusively():
            blob, entries = self.descriptor(name), self._entries()
            before = self.aliases().get(alias)
            if before is None and alias in self.tags():
                raise Refused(f"{alias} is a tag of {self.root.name} that cannot move", hint="choose another alias")
            line = {"t": at, "alias": alias, "from": before, "to": name, "by": by}
            store.append_line(self.alias_log, line, sync=True)
            others = [entry for entry in entries if entry.annotations.get(oci.REF_NAME) != alias]
            self._replace([*others, blob.noted({oci.REF_NAME: alias, ALIAS: "true"})])
        return before

    # Between layouts

    def copy_from(self, other: OciLayout, name: str, *, tag: str | ChooseTag) -> str:
        """Push a release of another layout here and return its tag; safe to repeat, seen only when it is whole.

        Raises: IntegrityError — a blob of the other layout is altered; nothing becomes visible.
        Refused — the tag is another release's, or this folder cannot be written.
        """
        self.create()
        with writing(self.root):
            for blob in other.walk(name):
                blobs.adopt(other.path(blob.digest), self.blobs, name=blob.digest, what=other._what(blob))
        return self._publish(other.descriptor(name), tag if callable(tag) else lambda _: tag)

    # Inside

    def _publish(self, blob: Descriptor, choose: ChooseTag) -> str:
        with writing(self.root), self._exclusively():
            store.sync_directory(self.blobs)  # the index must not outlive the blobs it names
            tags = self.tags()
            tag = choose(tags)
            if not TAG.fullmatch(tag):
                raise UserError(f"tag {tag!r}: letters, digits, dots, dashes and underscores only, at most 128")
            if (taken := tags.get(tag)) not in {None, blob.digest}:
                message = f"{self.root.name} already has {tag}: {taken}; what a tag names never changes"
                raise Refused(message, hint="give the new release another version")
            if taken is None:
                bare = Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
                self._replace([*self._entries(), bare.noted({oci.REF_NAME: tag})])
            return tag

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        with _one_thread, store.locked(self.lock_path):
            yield

    def _entries(self) -> list[Descriptor]:
        if not self.index_path.exists():
            return []
        value = store.read_json(self.index_path)
        listed = value.get("manifests") if isinstance(value, dict) else None
        return [Descriptor.parse(entry, where=str(self.index_path)) for entry in oci.as_list(listed)]

    def _replace(self, entries: list[Descriptor]) -> None:
        manifests = [entry.to_json() for entry in entries]
        store.write_json(self.index_path, {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests})

    def _what(self, blob: Descriptor) -> str:
        return f"{blob.title or 'a document'} ({self.path(blob.digest)})"

    def _check_size(self, blob: Descriptor) -> None:
        found = self.path(blob.digest).stat().st_size
        if found != blob.size:
            raise IntegrityError(self._what(blob), expected=f"{blob.size} bytes", found=f"{found} bytes")


@contextlib.contextmanager
def writing(root: Path, *, what: str = "registry folder") -> Iterator[None]:
    """Turn what a disk says no with into an error that names the folder.

    Raises: Refused — no permission, or a read-only disk. ForgiaError — the disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        place = Path(error.filename or root)
        if not (place.is_relative_to(root) or root.is_relative_to(place)):
            raise  # a file that is read, not the folder that is written
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            message = f"{what} {root} cannot be written ({error.strerror}: {error.filename})"
            raise Refused(message, hint="ask its owner for write permission, or use another folder") from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = f"{what} {root}: {error.strerror}; what was begun is removed"
            raise ForgiaError(message, hint="free some space and do it again") from error
        raise
