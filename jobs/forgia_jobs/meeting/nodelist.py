"""Slurm's compact lists of host names."""

from __future__ import annotations

import re
from collections.abc import Iterator


def expand(text: str) -> list[str]:
    """Host names of a list such as ``n[1-3,5],login1`` in its own order.

    Leading zeros are kept (``lrdn[0001-0003]``) and several brackets multiply (``r[1-2]n[1-2]``).
    Raises: ValueError — brackets or a range that do not fit.
    Source: https://slurm.schedmd.com/scontrol.html#OPT_hostnames (Slurm 22.05)
    """
    return [host for part in _parts(text.strip()) for host in _hosts(part)]


def _parts(text: str) -> Iterator[str]:
    """Cut at the commas outside brackets."""
    depth, start = 0, 0
    for position, letter in enumerate(text):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth not in (0, 1):
            raise ValueError(f"node list {text!r}: brackets do not fit at position {position}")
        if letter == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    if depth:
        raise ValueError(f"node list {text!r}: a bracket is not closed")
    if text[start:]:
        yield text[start:]


def _hosts(part: str) -> list[str]:
    found = re.fullmatch(r"([^\[\]]*)(?:\[([^\[\]]+)\](.*))?", part)
    if found is None:
        raise ValueError(f"node list part {part!r} is not one")
    prefix, ranges, rest = found.groups()
    if ranges is None:
        return [prefix]
    tails = _hosts(rest)
    return [f"{prefix}{number}{tail}" for piece in ranges.split(",") for number in _numbers(piece) for tail in tails]


def _numbers(piece: str) -> Iterator[str]:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", piece)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise ValueError(f"node list range {piece!r}: write NUMBER or FIRST-LAST")
    for number in range(int(found[1]), int(found[2] or found[1]) + 1):
        yield str(number).zfill(len(found[1]))
