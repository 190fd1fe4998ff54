"""Packing: every token is learnt once, nothing sees another document, nothing is cut that must not be."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forgia_jobs.text.token_blocks import NEXT, NOT_LEARNT, POSITIONS, TOKENS, Blocks, Passage, pack, too_long

BEGIN = 0


@st.composite
def passages(draw: st.DrawFn, *, context: int) -> list[Passage]:
    """Documents of any length, questions that fit; every token but the first is a number of its own."""
    found: list[Passage] = []
    next_token = 1
    for group in range(draw(st.integers(1, 12))):
        size = draw(st.integers(1, 3 * context))
        asked = draw(st.integers(1, size)) if size <= context else 1
        tokens = np.asarray([BEGIN, *range(next_token, next_token + size)], dtype=np.int32)
        found.append(Passage(tokens=tokens, asked=asked, group=draw(st.integers(0, group))))
        next_token += size
    return found


@st.composite
def packed(draw: st.DrawFn, *, apart: bool) -> tuple[list[Passage], int, Blocks]:
    context = draw(st.integers(2, 12))
    found = draw(passages(context=context))
    blocks, counts = pack([found], context, apart=[apart])
    assert counts == [blocks.layers.shape[1]]
    return found, context, blocks


def pieces(blocks: Blocks) -> list[tuple[int, int, int]]:
    """Block, first place and end of each piece, by where positions begin anew."""
    found = []
    for row, positions in enumerate(blocks.layers[POSITIONS]):
        starts = [*np.flatnonzero(positions == 0).tolist(), len(positions)]
        found += [(row, start, stop) for start, stop in itertools.pairwise(starts)]
    return found


@given(packed(apart=False))
def test_every_token_is_learnt_once_but_those_of_questions(case: tuple[list[Passage], int, Blocks]) -> None:
    found, _, blocks = case
    ahead = blocks.layers[NEXT]
    learnt = Counter(ahead[ahead != NOT_LEARNT].tolist())
    assert learnt == Counter(token for passage in found for token in passage.tokens[passage.asked :].tolist())
    assert blocks.learnt.sum() == learnt.total()


@given(packed(apart=False))
def test_within_a_piece_each_token_is_followed_by_the_next_of_its_passage(
    case: tuple[list[Passage], int, Blocks],
) -> None:
    found, _, blocks = case
    follows = {
        int(passage.tokens[place]): int(passage.tokens[place - 1])
        for passage in found
        for place in range(2, len(passage.tokens))
    }
    for row, start, stop in pieces(blocks):
        tokens, ahead = blocks.layers[TOKENS, row, start:stop], blocks.layers[NEXT, row, start:stop]
        assert np.array_equal(blocks.layers[POSITIONS, row, start:stop], np.arange(stop - start))
        for read, foretold in zip(tokens.tolist(), ahead.tolist(), strict=True):
            assert foretold == NOT_LEARNT or follows.get(foretold, BEGIN) == read


@given(packed(apart=False))
def test_what_fits_is_whole_and_what_does_not_is_cut_into_full_blocks(case: tuple[list[Passage], int, Blocks]) -> None:
    found, context, blocks = case
    owner = {int(token): place for place, passage in enumerate(found) for token in passage.tokens[1:]}
    parts: Counter[int] = Counter()
    for row, start, stop in pieces(blocks):
        of = {owner[token] for token in blocks.layers[NEXT, row, start:stop].tolist() if token != NOT_LEARNT}
        assert len(of) <= 1
        parts.update(of)
    assert all(parts[place] == -(-passage.size // context) for place, passage in enumerate(found))


@given(packed(apart=True))
def test_apart_a_block_holds_one_group_and_is_named_by_it(case: tuple[list[Passage], int, Blocks]) -> None:
    found, _, blocks = case
    group_of = {int(token): passage.group for passage in found for token in passage.tokens[1:]}
    for row, ahead in enumerate(blocks.layers[NEXT]):
        assert {group_of[token] for token in ahead.tolist() if token != NOT_LEARNT} == {int(blocks.group[row])}


@given(packed(apart=False))
def test_no_two_blocks_would_fit_into_one(case: tuple[list[Passage], int, Blocks]) -> None:
    """Else a block would be opened while another one had room for all of it."""
    _, context, blocks = case
    filled = Counter[int]()
    for row, start, stop in pieces(blocks):
        if (blocks.layers[NEXT, row, start:stop] != NOT_LEARNT).any():  # else it is what was left over
            filled[row] += stop - start
    sizes = sorted(filled.values())
    assert len(sizes) < 2 or sizes[0] + sizes[1] > context


def test_parts_are_packed_one_after_the_other() -> None:
    one = Passage(tokens=np.arange(5, dtype=np.int32))
    blocks, counts = pack([[one, one], [one], []], 4, apart=[False, True, True])
    assert counts == [2, 1, 0]
    assert blocks.layers.shape == (3, 3, 4)


def test_questions_longer_than_the_context_are_found() -> None:
    document, question = (Passage(tokens=np.arange(9, dtype=np.int32), asked=asked) for asked in (1, 3))
    assert too_long([document, question], 8) == []
    assert too_long([document, question], 7) == [1]
