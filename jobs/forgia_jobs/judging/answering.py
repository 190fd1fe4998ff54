"""Questions put to a language model, and how near its answers come to the true ones.

Answers are compared without case, punctuation and spaces. Source of both figures: Rajpurkar, Zhang, Lopyrev, Liang:
SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP 2016, section 6.1; articles count here, for those of
English are words of other languages.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from forgia.errors import UserError
from forgia_jobs.request import Evaluate
from forgia_jobs.samples.data import Data
from forgia_jobs.samples.tokens import Question, TokenSource

FIGURES = frozenset({"exact_match", "answer_f1"})
MOST = 32
"""Questions put in a part: enough to see whether answers are right, few enough to wait for."""

Answer = Callable[[Sequence[Question]], list[list[int]]]
"""The tokens that a model says after each prompt."""


def askable(settings: Evaluate, data: Data) -> Evaluate:
    """The settings without figures of answers, where a part has no question.

    Raises: UserError — one of them decides.
    """
    if all(source_of(data).questions[part] for part in ("validation", "test")):
        return settings
    if settings.primary in FIGURES or (settings.gate and settings.gate.metric in FIGURES):
        text = "answers decide, but the validation or the test part has no question"
        raise UserError(text, hint="evaluate.primary=perplexity, and the gate's metric as well")
    return replace(settings, metrics=tuple(name for name in settings.metrics if name not in FIGURES))


def source_of(data: Data) -> TokenSource:
    """The source of data whose output is tokens."""
    return cast(TokenSource, data.source)


def with_answers(
    surprise: npt.NDArray[np.float32], data: Data, part: str, *, answer: Answer
) -> npt.NDArray[np.float32]:
    """Beside the surprise of each block: sums of both figures and the count of questions, at a block of their document.

    Shapes: (blocks,) to (blocks, 4).
    """
    source = source_of(data)
    asked = chosen(source.questions[part])
    groups = data.groups[data.split.part(part)]
    first_of = {int(group): place for place, group in reversed(list(enumerate(groups)))}
    found = np.zeros((len(surprise), 4), dtype=np.float32)
    found[:, 0] = surprise
    for question, ids in zip(asked, answer(asked), strict=True):
        said = source.tokenizer.decode(ids)
        found[first_of[question.group], 1:] += (exact(said, question.answer), overlap(said, question.answer), 1.0)
    return found


def chosen(questions: Sequence[Question]) -> list[Question]:
    """All of them, or as many as are put, taken evenly."""
    places = np.unique(np.linspace(0, len(questions) - 1, min(MOST, len(questions))).astype(int))
    return [questions[place] for place in places]


def words(text: str) -> list[str]:
    """Words without case and punctuation; accents count."""
    plain = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(" " if unicodedata.category(sign)[0] in "PSZC" else sign for sign in plain)
    return kept.split()


def exact(said: str, true: str) -> float:
    """1 where both are the same words."""
    return float(words(said) == words(true))


def overlap(said: str, true: str) -> float:
    """Harmonic mean of the shares of words that both have."""
    ours, theirs = Counter(words(said)), Counter(words(true))
    both = (ours & theirs).total()
    return 2 * both / (ours.total() + theirs.total()) if both else 0.0
