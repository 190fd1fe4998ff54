"""Pulling a release: its files as a plain folder, every one checked on the way, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from forgia import store
from forgia.errors import IntegrityError, Refused, UserError
from forgia.registry import blobs
from forgia.registry.contents import Contents, contents
from forgia.registry.layout import Advance, OciLayout, idle, writing
from forgia.registry.oci import Descriptor
from forgia.release import checked_path

SUMMARY = "release.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A release as files."""

    folder: Path
    digest: str
    files: int
    size: int
    """Bytes of all files."""


def pull(layout: OciLayout, ref: str, to: Path, *, advance: Advance = idle) -> Pulled:
    """Write a release's files into a new folder: the model's at the top, ``recipe/``, ``datasets/``, provenance.json.

    The folder is built beside and renamed, so that it is there whole or not at all.
    Raises: NotFound — no such release. Refused — ``to`` holds something, or cannot be written.
    IntegrityError — a blob is altered. UserError — a file name would leave the folder.
    """
    release = contents(layout, layout.resolve(ref))
    places = file_places(release)
    refuse_full(to)
    with writing(to.parent, what="folder"), store.building(to) as folder:
        for place, file in places.items():
            _write(release, file, folder / place)
            advance(file.size)
        store.write_json(folder / SUMMARY, summary(release, ref))
        refuse_full(to)
        if to.exists():
            to.rmdir()  # empty: a folder takes the name of another only where there is none
    return Pulled(folder=to, digest=release.digest, files=len(places), size=release.size)


def file_places(release: Contents) -> dict[PurePosixPath, Descriptor]:
    """Where each file of a release goes. Raises: UserError — a path leaves the folder, or two files claim one place."""
    places: dict[PurePosixPath, Descriptor] = {}
    folders: set[PurePosixPath] = {PurePosixPath(SUMMARY)}
    for file in release.files():
        place = checked_path(file.title)
        if place in places:
            raise UserError(f"release {release.digest} holds {file.title!r} twice; nothing was written")
        places[place] = file
        folders.update(place.parents)
    if clash := sorted(str(place) for place in folders & places.keys()):
        raise UserError(f"release {release.digest} needs one name for a file and a folder: {', '.join(clash)}")
    return places


def refuse_full(to: Path) -> None:
    """Raises: Refused — the place is a file, or a folder that holds something."""
    if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise Refused(f"{to} is not an empty folder; nothing was written", hint="name a folder that does not exist yet")


def summary(release: Contents, ref: str) -> Mapping[str, Any]:
    """What ``release.json`` tells of a pulled release."""
    return {
        "schema_version": 1,
        "ref": ref,
        "digest": release.digest,
        "annotations": dict(release.annotations),
        "manifests": [{"role": part.role, "digest": part.digest} for part in release.parts],
        "files": [
            {"path": file.title, "digest": file.digest, "size": file.size, "role": part.role}
            for part in release.parts
            for file in part.files
        ],
    }


def _write(release: Contents, file: Descriptor, place: Path) -> None:
    store.private_directory(place.parent)
    source = release.layout.path(file.digest)
    found = blobs.copy(source, place) if source.is_file() else "nothing"
    if found != file.digest:
        raise IntegrityError(f"{file.title} ({source})", expected=file.digest, found=found)
