"""Texts as tokens, packed into blocks of equal length so that every token is learnt exactly once: arithmetic alone.

A passage begins with a token that is only read, and each later token is foretold from those before it. What fits into a
block is never cut; a longer document is cut into full blocks and a rest. Pieces that share a block do not see each
other: each counts its positions from 0, and a network parts them there.

Source: packing by best fit in the order of falling length, Ding, Wang, Paolini et al.: Fewer Truncations Improve
Language Modeling, ICML 2024, https://arxiv.org/abs/2404.10830 (section 3).
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOT_LEARNT = -100
"""What stands where nothing is to be foretold. Source: ignore_index of torch 2.13's cross_entropy."""
TOKENS, POSITIONS, NEXT = 0, 1, 2
"""Layers of the packed blocks."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One text as tokens: a document, or a question with its answer."""

    tokens: Ids
    """From the token that begins every text to the one that ends it."""
    asked: int = 1
    """Tokens that are only read: the first one, or all of a question."""
    group: int = 0
    """Passages of one number are of one document."""

    @property
    def is_pair(self) -> bool:
        """A question with its answer, which loses its sense when it is cut."""
        return self.asked > 1

    @property
    def size(self) -> int:
        """Places that it takes in blocks: its last token is foretold, never read."""
        return len(self.tokens) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What of a passage lies in one block."""

    passage: int
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Packed passages."""

    layers: npt.NDArray[np.int32]
    """(3, blocks, context): tokens, positions within their piece, and the tokens to foretell, NOT_LEARNT elsewhere."""
    group: npt.NDArray[np.int64]
    """Of each block: that of its first passage."""

    @property
    def learnt(self) -> npt.NDArray[np.int64]:
        """Tokens to foretell in each block."""
        return np.asarray((self.layers[NEXT] != NOT_LEARNT).sum(axis=1), dtype=np.int64)


def too_long(passages: Sequence[Passage], context: int) -> list[int]:
    """Positions of the questions that do not fit into a block with their answers."""
    return [place for place, passage in enumerate(passages) if passage.is_pair and passage.size > context]


def pack(parts: Sequence[Sequence[Passage]], context: int, *, apart: Sequence[bool]) -> tuple[Blocks, list[int]]:
    """All parts' passages in blocks, one part after the other, and the blocks of each part.

    Args: apart — for each part whether a block holds passages of one group only.
    The blocks lie in a file without a name that is mapped into memory and gone with the process.
    """
    plans = [plan(passages, context, apart=alone) for passages, alone in zip(parts, apart, strict=True)]
    counts = [len(bins) for bins in plans]
    layers = _mapped((3, sum(counts), context))
    layers[TOKENS], layers[POSITIONS], layers[NEXT] = 0, np.arange(context), NOT_LEARNT
    group = np.zeros(sum(counts), dtype=np.int64)
    row = 0
    for passages, bins in zip(parts, plans, strict=True):
        for pieces in bins:
            fill(layers[:, row], passages, pieces)
            group[row] = passages[pieces[0].passage].group
            row += 1
    return Blocks(layers=layers, group=group), counts


def plan(passages: Sequence[Passage], context: int, *, apart: bool) -> list[list[Piece]]:
    """Which pieces lie together in a block."""
    of_group: dict[int, list[Piece]] = defaultdict(list)
    for place, passage in enumerate(passages):
        of_group[passage.group if apart else 0] += cut(place, passage.size, context)
    return [pieces for found in of_group.values() for pieces in best_fit(found, context)]


def cut(passage: int, size: int, context: int) -> list[Piece]:
    """Full blocks, and what is left."""
    starts = range(0, size, context)
    return [Piece(passage=passage, start=start, size=min(context, size - start)) for start in starts]


def best_fit(pieces: Iterable[Piece], context: int) -> list[list[Piece]]:
    """Each piece, the longest first, into the block that it leaves the least room in; a new one where none has room."""
    bins: list[list[Piece]] = []
    with_room: dict[int, list[int]] = defaultdict(list)
    rooms: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece.size):
        place = bisect_left(rooms, piece.size)
        if place == len(rooms):
            bins.append([])
            chosen, room = len(bins) - 1, context
        else:
            room = rooms[place]
            chosen = with_room[room].pop()
            if not with_room[room]:
                rooms.pop(place)
        bins[chosen].append(piece)
        if left := room - piece.size:
            if not with_room[left]:
                insort(rooms, left)
            with_room[left].append(chosen)
    return bins


def fill(block: npt.NDArray[np.int32], passages: Sequence[Passage], pieces: Sequence[Piece]) -> None:
    """Write pieces side by side into a block; what is left over is a piece of its own that nothing is learnt of.

    Shapes: block (3, context).
    """
    at = 0
    for piece in pieces:
        passage, here = passages[piece.passage], slice(at, at + piece.size)
        ahead = np.arange(piece.start + 1, piece.start + piece.size + 1)
        block[TOKENS, here] = passage.tokens[piece.start : piece.start + piece.size]
        block[POSITIONS, here] = np.arange(piece.size)
        block[NEXT, here] = np.where(ahead >= passage.asked, passage.tokens[ahead], NOT_LEARNT)
        at += piece.size
    block[POSITIONS, at:] = np.arange(block.shape[1] - at)


def _mapped(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    if not np.prod(shape):
        return np.zeros(shape, dtype=np.int32)
    with tempfile.TemporaryFile(prefix="forgia-tokens-") as file:
        return np.memmap(file, dtype=np.int32, mode="w+", shape=shape)
