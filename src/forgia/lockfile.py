"""Locks: the exact distributions of an environment, as ``requirements.txt`` or ``pylock.toml`` name them.

Where distributions come from is never a lock's word: index and proxy are settings of pip's own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from forgia.errors import Problem, UserError

NAME = re.compile(r"^(?:requirements(?:[.-][a-z0-9]+)*\.txt|pylock(?:\.[a-z0-9-]+)?\.toml)$")
"""Files that can be a lock. Source: PEP 751 (names of lock files)"""
HASH = re.compile(r"\s--hash[= ](sha256:[0-9a-f]{64}|sha(?:384|512):[0-9a-f]+)(?=\s|$)")
FOREIGN = ("vcs", "directory", "archive")
"""Kinds of sources in a pylock.toml that are no distribution of an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One distribution in one version."""

    requirement: str
    """``name[extra]==version ; marker``, for pip."""
    name: str
    hashes: tuple[str, ...] = ()

    def line(self) -> str:
        """The line of a requirements file."""
        return " ".join([self.requirement, *(f"--hash={value}" for value in self.hashes)])


def load(path: Path) -> tuple[Pin, ...]:
    """The pins of a lock, by name. Raises: UserError — with every line that is no pin."""
    pins, problems = read(path)
    if problems:
        raise UserError(f"{path}: not a lock of exact versions", problems=problems)
    return pins


def read(path: Path) -> tuple[tuple[Pin, ...], list[Problem]]:
    """The pins of a lock, and everything in it that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return (), [Problem(str(path), None, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")]
    found = list(pylock(text) if path.suffix == ".toml" else requirements(text))
    problems = [Problem(str(path), line, "", item) for line, item in found if isinstance(item, str)]
    pins = sorted((item for _, item in found if isinstance(item, Pin)), key=lambda pin: (pin.name, pin.requirement))
    if not pins and not problems:
        problems.append(Problem(str(path), None, "", "names no distribution"))
    return tuple(pins), problems


def requirements(text: str) -> Iterator[tuple[int, Pin | str]]:
    """Line number, and the pin or what is wrong, of a requirements file. Source: pip 23.2, requirements file format."""
    for number, line in logical_lines(text):
        hashes = tuple(sorted(HASH.findall(line)))
        yield number, pin(HASH.sub("", line).strip(), hashes=hashes)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, joined where a backslash ends one; those with nothing in them are passed over."""
    held, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if held else number
        held += re.sub(r"(^|\s)#.*$", "", raw)
        if held.endswith("\\"):
            held = held[:-1] + " "
            continue
        if held.strip():
            yield start, held.strip()
        held = ""
    if held.strip():
        yield start, held.strip()


def pin(text: str, *, hashes: Iterable[str]) -> Pin | str:
    """The pin that a requirement is, or what is wrong with it."""
    if text.startswith("-"):
        option = text.split(maxsplit=1)[0]
        return f"{option!r} is an option, and a lock has none; index and proxy are settings of pip (pip config)"
    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        return f"{text!r} is not a requirement"
    if wanted.url:
        return f"{wanted.name} comes from a place of its own; name the version of an index"
    clauses = list(wanted.specifier)
    if len(clauses) != 1 or clauses[0].operator not in ("==", "===") or clauses[0].version.endswith("*"):
        return f"{text!r} is not one version; write {wanted.name}==VERSION"
    return Pin(requirement=str(wanted), name=canonicalize_name(wanted.name), hashes=tuple(hashes))


def pylock(text: str) -> Iterator[tuple[int | None, Pin | str]]:
    """The pins of a pylock.toml, or what is wrong. Source: PEP 751, lock-version 1.0"""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        yield None, f"not TOML: {error}"
        return
    if not str(value.get("lock-version", "")).startswith("1."):
        yield None, f"lock-version {value.get('lock-version')!r}; 1.0 is known"
        return
    for package in value.get("packages") or ():
        yield None, locked_package(package)


def locked_package(package: dict[str, Any]) -> Pin | str:
    """The pin of one package of a pylock.toml, or what is wrong with it."""
    name, version, marker = (str(package.get(key) or "") for key in ("name", "version", "marker"))
    if foreign := next((kind for kind in FOREIGN if kind in package), None):
        return f"{name} comes from a place of its own ({foreign}); name the version of an index"
    if not version:
        return f"{name} has no version"
    files = [*(package.get("wheels") or ()), *([package["sdist"]] if package.get("sdist") else [])]
    hashes = {f"{kind}:{value}" for file in files for kind, value in (file.get("hashes") or {}).items()}
    usable = sorted(item for item in hashes if item.startswith(("sha256:", "sha384:", "sha512:")))
    return pin(f"{name}=={version}" + (f" ; {marker}" if marker else ""), hashes=usable)
