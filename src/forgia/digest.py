"""Digests: one spelling (``sha256:<64 hex>``), one canonical JSON, one way to digest a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgia.errors import IntegrityError

PATTERN = re.compile(r"^sha256:[0-9a-f]{64}$")
IGNORED_NAMES = frozenset({"__pycache__", ".git", ".DS_Store", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache"})
"""Left out of a tree's digest and of its frozen copy: made by tools, never by the author."""


def of_bytes(data: bytes) -> str:
    """The digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """The digest of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def of_json(value: Any) -> str:
    """The digest of a JSON value, whatever the order of its keys and its white space."""
    return of_bytes(canonical_json(value))


def of_tree(root: Path) -> str:
    """The digest of a folder: names and bytes of its files, nothing of times, owners or tool leftovers."""
    return of_json([[path.relative_to(root).as_posix(), of_file(path)] for path in tree_files(root)])


def tree_files(root: Path) -> Iterator[Path]:
    """Every regular file of a folder in the order of its path; links are not followed and not listed."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in IGNORED_NAMES)
        found.extend(
            path
            for name in names
            if name not in IGNORED_NAMES and not name.endswith(".pyc")
            if not (path := Path(folder, name)).is_symlink() and path.is_file()
        )
    return iter(sorted(found, key=lambda path: path.relative_to(root).as_posix()))


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: the one text that every implementation writes for it.

    Source: https://www.rfc-editor.org/rfc/rfc8785
    """
    import rfc8785

    return rfc8785.dumps(value)


def verify_file(path: Path, expected: str, *, what: str | None = None) -> None:
    """Raises: IntegrityError — the file is missing or its bytes are not those of the digest."""
    found = of_file(path) if path.is_file() else "nothing"
    if found != expected:
        raise IntegrityError(what or str(path), expected=expected, found=found)


def hexadecimal(digest: str) -> str:
    """The 64 characters behind ``sha256:``. Raises: ValueError — not a digest in our spelling."""
    if not PATTERN.fullmatch(digest):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return digest.removeprefix("sha256:")


def short(digest: str) -> str:
    """Twelve characters for a person's eye; never for a comparison."""
    return digest.removeprefix("sha256:")[:12]
