"""Text in blocks that end where a row ends, with the number of their first line; bounded memory whatever the file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia.dataset.dialect import Dialect
from forgia.errors import UserError

BLOCK_BYTES = 12 << 20
"""Large enough that Arrow's per-call cost vanishes, small enough that a handful fit in memory."""
PATIENCE = 5
"""Blocks that a quoted value may span before its opening mark is taken for a stray one."""
FARTHEST_LINES = 10_000
"""How far back the beginning of a quoted value is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Whole rows of one file, as UTF-8."""

    data: bytes
    line: int
    """Line number of the first row."""


def blocks(path: Path, stream: Any, dialect: Dialect, *, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Cut a stream into blocks of about ``size`` bytes, after the header.

    Raises: UserError — text that is not in the dialect's encoding, a compressed file cut short, an endless row.
    """
    text = decoded(path, stream, dialect.encoding, size)
    rest, line = b"", dialect.line
    for piece in after(text, dialect.skip):
        end = cut(piece, marks=rest.count(b'"'))
        if not end and len(rest) + len(piece) > PATIENCE * size:
            end = piece.rfind(b"\n") + 1
            if not end:
                raise UserError(f"{path}:{line}: a row longer than {PATIENCE * size >> 20} MiB: is this a table?")
        if end:
            data = b"".join((rest, memoryview(piece)[:end]))
            rest = piece[end:]
            yield Block(data=data, line=line)
            line += data.count(b"\n")
        else:
            rest += piece
    if rest:
        yield Block(data=rest, line=line)


def after(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """What follows the first ``skip`` bytes."""
    for piece in pieces:
        if len(piece) > skip:
            yield piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))


def decoded(path: Path, stream: Any, encoding: str, size: int) -> Iterator[bytes]:
    """The stream as UTF-8 without byte order mark, about ``size`` bytes at a time."""
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
    first, done = True, False
    while not done:
        data = _read(path, stream, size)
        done = not data
        if decoder is not None:
            try:
                data = decoder.decode(data, done).encode()
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not text in {encoding}: {error}", hint="say --encoding") from error
        if first:
            data = data.removeprefix(codecs.BOM_UTF8)
        if data:
            first = False
            yield data


def _read(path: Path, stream: Any, size: int) -> bytes:
    """Up to ``size`` bytes, fewer only at the end."""
    parts, wanted = [], size
    try:
        while wanted and (part := stream.read(wanted)):
            parts.append(part)
            wanted -= len(part)
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{path}: damaged or cut short: {error}") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def cut(data: bytes, *, marks: int = 0) -> int:
    """Where the last whole row ends: after the last line feed outside quotation marks; 0 where there is none.

    Args: marks — quotation marks that came before, in the same row.
    """
    end = data.rfind(b"\n") + 1
    marks += data.count(b'"', 0, end)
    if end == 0 or marks % 2 == 0:
        return end
    # An odd count: the last line feed lies inside a quoted value, unless a stray mark (5" pipe) fools the count.
    place = end
    for _ in range(FARTHEST_LINES):
        before = data.rfind(b"\n", 0, place - 1) + 1
        if before == 0:
            return 0
        marks -= data.count(b'"', before, place)
        if marks % 2 == 0:
            return before
        place = before
    return end
