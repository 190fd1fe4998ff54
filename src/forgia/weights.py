"""Weights that others have trained: a folder or a file on this machine, known by its bytes; tensors only, never code.

The request names the digest, the run's folder the place; the nodes must see the same place.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forgia import digest
from forgia.errors import IntegrityError, NotFound, UserError

SUFFIX = ".safetensors"
PAPERS = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""What is read beside the tensors; nothing else of the folder is."""
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Endings of files that run code when they are read."""
READERS = 4
"""Files digested at once."""


def located(text: str, *, needs: Sequence[str] = ()) -> Path:
    """The folder, or the one file, that a person names. Args: needs — files that the folder must hold.

    Raises: NotFound — nothing is there. UserError — it holds no safetensors, or lacks a file.
    """
    place = Path(text).expanduser().resolve()
    if not place.exists():
        raise NotFound("weights", text, hint="name a folder that this machine and the nodes see")
    names = {path.name for path in place.iterdir()} if place.is_dir() else {place.name}
    if not any(name.endswith(SUFFIX) for name in names):
        pickles = sorted(name for name in names if Path(name).suffix in PICKLES)
        if pickles:
            text = f"{place}: {', '.join(pickles)}: reading such a file runs the code in it; forgia reads {SUFFIX} only"
            raise UserError(text, hint="save the weights again with safetensors, on a machine that may run that code")
        raise UserError(f"{place}: no {SUFFIX} file, so no weights")
    if lacking := [name for name in needs if place.is_dir() and name not in names]:
        raise UserError(f"{place}: lacks {', '.join(lacking)}")
    return place


def files(place: Path) -> list[Path]:
    """What is read of a folder, in the order of the names; links are followed, as in a cache of downloads."""
    if place.is_file():
        return [place]
    return sorted(path for path in place.iterdir() if path.is_file() and (path.suffix == SUFFIX or path.name in PAPERS))


def digest_of(place: Path) -> str:
    """The digest of names and bytes of what is read; wherever it lies, and whatever else lies there."""
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files(place)))


def verify(place: Path, expected: str) -> None:
    """Raises: IntegrityError — nothing is there, or other bytes."""
    found = digest_of(place) if place.exists() else "nothing that this node sees"
    if found != expected:
        raise IntegrityError(f"weights {place}", expected=expected, found=found)


@functools.lru_cache(maxsize=8)
def _digest(seen: tuple[tuple[Path, int, int], ...]) -> str:
    """Kept for the next plan of the same process, such as the next member of a sweep."""
    paths = [path for path, _, _ in seen]
    with ThreadPoolExecutor(READERS) as pool:
        return digest.of_json(
            [[path.name, one] for path, one in zip(paths, pool.map(digest.of_file, paths), strict=True)]
        )
