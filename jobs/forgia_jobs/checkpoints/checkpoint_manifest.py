"""What a checkpoint is made of: the one file that makes it whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from forgia import digest, store
from forgia.errors import IntegrityError

MANIFEST = "manifest.json"
FORMAT = 2
"""Schema version of the manifest, and with it of the folder."""
READERS = 4
"""Files that are digested at once."""


class Held(NamedTuple):
    """A piece of a tensor in a file, under the tensor's name."""

    file: str
    offset: int
    rows: int | None
    """None: the whole tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """A tensor, and which file holds which of its rows."""

    dtype: str
    """As safetensors spells it."""
    shape: tuple[int, ...]
    held: tuple[Held, ...]
    """In the order of the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one rank has written."""

    files: Mapping[str, str]
    """Name → digest."""
    tensors: Mapping[str, TensorFacts]
    """Each with one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A checkpoint, whole."""

    request: str
    """Identity of the request that was trained."""
    step: int
    world_size: int
    strategy: str
    cursor: Mapping[str, Any]
    """The loop's own numbers."""
    scalars: Mapping[str, Any]
    """Of the state, what is no tensor."""
    files: Mapping[str, str]
    """Name → digest."""
    tensors: Mapping[str, TensorFacts]


def merge(parts: Iterable[Part]) -> Part:
    """All ranks' parts as one. Raises: IntegrityError — they do not cover each tensor exactly once."""
    files: dict[str, str] = {}
    found: dict[str, list[TensorFacts]] = {}
    for part in parts:
        files.update(part.files)
        for name, facts in part.tensors.items():
            found.setdefault(name, []).append(facts)
    return Part(files=files, tensors={name: _join(name, pieces) for name, pieces in found.items()})


def _join(name: str, pieces: list[TensorFacts]) -> TensorFacts:
    first = pieces[0]
    held = sorted((piece.held[0] for piece in pieces), key=lambda piece: (piece.offset, piece.rows or 0))
    is_alike = all((piece.dtype, piece.shape) == (first.dtype, first.shape) for piece in pieces)
    if not (is_alike and _covers(held, first.shape)):
        spans = ", ".join("all" if piece.rows is None else f"{piece.offset}+{piece.rows}" for piece in held)
        raise IntegrityError(f"tensor {name}", expected=f"each row of {list(first.shape)} once", found=f"rows {spans}")
    return TensorFacts(dtype=first.dtype, shape=first.shape, held=tuple(held))


def _covers(held: list[Held], shape: tuple[int, ...]) -> bool:
    if any(piece.rows is None for piece in held):
        return len(held) == 1
    ends = [0, *(piece.offset + (piece.rows or 0) for piece in held)]
    begins = [*(piece.offset for piece in held), shape[0]]
    return begins == ends


def write_part(path: Path, part: Part) -> None:
    """Say that a rank's files are on disk for good."""
    store.write_atomic(path, json.dumps(asdict(part)))


def read_part(path: Path) -> Part:
    """The inverse of ``write_part``."""
    value = json.loads(path.read_bytes())
    return Part(files=value["files"], tensors=_tensors(value["tensors"]))


def write(place: Path, manifest: Manifest) -> None:
    """Write the manifest into the checkpoint's folder, with its own digest."""
    value = asdict(manifest)
    store.write_atomic(place / MANIFEST, json.dumps({"schema_version": FORMAT, "digest": _digest(value), **value}))


def read(place: Path) -> Manifest:
    """Raises: IntegrityError — it is missing, damaged or of another format. UserError — it is not JSON."""
    path = place / MANIFEST
    if not path.is_file():
        raise IntegrityError(str(place), expected=f"a {MANIFEST}", found="nothing")
    value = store.read_json(path)
    version = value.pop("schema_version", None) if isinstance(value, dict) else None
    if version != FORMAT:
        raise IntegrityError(str(path), expected=f"a checkpoint of format {FORMAT}", found=f"format {version}")
    expected = value.pop("digest", None)
    if (found := _digest(value)) != expected:
        raise IntegrityError(str(path), expected=str(expected), found=found)
    return Manifest(**{**value, "tensors": _tensors(value["tensors"])})


def verify(place: Path, *, identity: str) -> Manifest:
    """The manifest of a checkpoint whose every byte is what it says.

    Raises: IntegrityError — a file differs, is missing or is one too many, or it is of another request. UserError —
    the manifest is not JSON.
    """
    manifest = read(place)
    if manifest.request != identity:
        raise IntegrityError(str(place), expected=f"a checkpoint of request {identity}", found="another one")
    there = {path.name for path in place.iterdir()} - {MANIFEST}
    if strange := there - manifest.files.keys():
        raise IntegrityError(str(place), expected="files that its manifest names", found=", ".join(sorted(strange)))
    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(lambda item: digest.verify_file(place / Path(item[0]).name, item[1]), manifest.files.items()))
    return manifest


def _digest(value: Mapping[str, Any]) -> str:
    return digest.of_bytes(json.dumps(value, sort_keys=True).encode())


def _tensors(value: Mapping[str, Any]) -> dict[str, TensorFacts]:
    return {
        name: TensorFacts(
            dtype=facts["dtype"],
            shape=tuple(facts["shape"]),
            held=tuple(Held(*piece) for piece in facts["held"]),
        )
        for name, facts in value.items()
    }
