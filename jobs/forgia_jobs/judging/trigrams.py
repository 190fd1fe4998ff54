"""A language model that counts: which token followed which two, on the training part; what a network must outdo.

Smoothing: Witten, Bell: The zero-frequency problem, IEEE Transactions on Information Theory 37 (1991), method C, from
trigrams to bigrams to single tokens to all tokens alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forgia_jobs.judging import answering
from forgia_jobs.samples.data import Data
from forgia_jobs.samples.tokens import Question
from forgia_jobs.text.token_blocks import NEXT, NOT_LEARNT, POSITIONS, TOKENS

NAME = "token-trigrams"
Counts = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Level:
    """Contexts of one length with what followed them, both as numbers, in their order."""

    pairs: Counts
    """context × vocabulary + token, ascending."""
    times: Counts
    contexts: Counts
    totals: Counts
    kinds: Counts
    """How many different tokens followed each context."""

    @classmethod
    def count(cls, contexts: Counts, tokens: Counts, vocabulary: int) -> Level:
        """What followed what, how often."""
        pairs, times = np.unique(contexts * vocabulary + tokens, return_counts=True)
        seen, first, kinds = np.unique(pairs // vocabulary, return_index=True, return_counts=True)
        return cls(pairs, times, seen, np.add.reduceat(times, first), kinds)

    def refine(self, below: Chances, contexts: Counts, tokens: Counts, vocabulary: int) -> Chances:
        """Probabilities of tokens after contexts, from those after shorter ones."""
        total, kinds = _looked_up(self.contexts, contexts, self.totals), _looked_up(self.contexts, contexts, self.kinds)
        times = _looked_up(self.pairs, contexts * vocabulary + tokens, self.times)
        return np.where(total > 0, (times + kinds * below) / np.maximum(total + kinds, 1), below)


class Trigrams:
    """Counts of the tokens that a training part lets learn."""

    def __init__(self, layers: npt.NDArray[np.int32], vocabulary: int) -> None:
        """Shapes: layers as ``token_blocks.Blocks``."""
        self.vocabulary = vocabulary
        last, before, tokens, is_learnt = self._seen(layers)
        last, before, tokens = last[is_learnt], before[is_learnt], tokens[is_learnt]
        keys = (np.zeros_like(last), last, before * vocabulary + last)
        self.levels = [Level.count(key, tokens, vocabulary) for key in keys]

    def surprise(self, layers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """As ``language.surprise``. Shapes: (3, blocks, context) to (blocks,)."""
        last, before, tokens, is_learnt = self._seen(layers)
        chances = self.chances(last[is_learnt], before[is_learnt], tokens[is_learnt])
        found = np.zeros(is_learnt.shape)
        found[is_learnt] = -np.log(chances)
        return np.asarray(found.sum(axis=1), dtype=np.float32)

    def chances(self, last: Counts, before: Counts, tokens: Counts) -> Chances:
        """Of each token after the two before it."""
        found = np.full(len(tokens), 1.0 / self.vocabulary)
        for level, key in zip(self.levels, (np.zeros_like(last), last, before * self.vocabulary + last), strict=True):
            found = level.refine(found, key, tokens, self.vocabulary)
        return found

    def answers(self, questions: Sequence[Question], end: int) -> list[list[int]]:
        """The likeliest next token after another, up to the end of the text or of the room."""
        return [self._answer(question, end) for question in questions]

    def _answer(self, question: Question, end: int) -> list[int]:
        every = np.arange(self.vocabulary)
        before, last = (int(token) for token in question.prompt[-2:])
        found: list[int] = []
        while len(found) < question.room:
            best = int(np.argmax(self.chances(np.full_like(every, last), np.full_like(every, before), every)))
            if best == end:
                break
            found.append(best)
            before, last = last, best
        return found

    def _seen(self, layers: npt.NDArray[np.int32]) -> tuple[Counts, Counts, Counts, npt.NDArray[np.bool_]]:
        """The token before each, the one before that, the token itself, and where it is learnt.

        The first place of a piece has nothing before it: the same token stands for that.
        """
        last = layers[TOKENS].astype(np.int64)
        before = np.where(layers[POSITIONS] > 0, np.roll(last, 1, axis=1), last)
        return last, before, layers[NEXT].astype(np.int64), layers[NEXT] != NOT_LEARNT


def predictions(data: Data) -> dict[str, npt.NDArray[np.float32]]:
    """What the counts of the training part say of the other parts, with their answers."""
    source = answering.source_of(data)
    counted = Trigrams(source.layers[:, data.split.train], source.tokenizer.vocabulary)
    return {
        part: answering.with_answers(
            counted.surprise(source.layers[:, data.split.part(part)]),
            data,
            part,
            answer=lambda questions: counted.answers(questions, source.tokenizer.end),
        )
        for part in ("validation", "test")
    }


def _looked_up(keys: Counts, wanted: Counts, values: Counts) -> Counts:
    """The values of keys that are there; 0 for the others."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
