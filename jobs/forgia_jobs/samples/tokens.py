"""A sample is a block of tokens: documents, and questions with their answers, packed so that none sees another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from forgia import splitting
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia.splitting import Split
from forgia_jobs import devices
from forgia_jobs.request import Role
from forgia_jobs.samples import Flat, Positions, data
from forgia_jobs.samples.data import Data
from forgia_jobs.text import token_blocks, tokenizing
from forgia_jobs.text.token_blocks import NEXT, POSITIONS, TOKENS, Passage
from forgia_jobs.text.tokenizing import Tokenizer

TEXT, QUESTION, ANSWER = "text", "question", "answer"
"""Columns of the data. With a question and its answer, the text is the passage that answers it."""
BASE = "base"
"""The parameter that names the folder of a network's weights."""
TOKENS_AT_ONCE = 4096
"""Tokens predicted at once: a number a token and entry of the vocabulary is held for each."""
ANSWER_TOKENS = 64
"""An answer is read so far."""
TOLD = 5
"""Of what is too long, so many are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A row that can be learnt from."""

    text: str
    """What is foretold."""
    prompt: str
    """What is only read before it; empty for a document."""
    place: str
    """Dataset and row, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question put to a model after its training."""

    prompt: npt.NDArray[np.int32]
    answer: str
    room: int
    """Tokens that an answer may have."""
    group: int


class TokenSource:
    """Packed blocks, with the tokenizer that made them."""

    is_costly = True
    """They lie in a file."""

    def __init__(
        self,
        layers: npt.NDArray[np.int32],
        tokenizer: Tokenizer,
        questions: Mapping[str, Sequence[Question]],
        *,
        device: torch.device | None = None,
    ) -> None:
        """Args: layers — as ``token_blocks.Blocks``; questions — by part, those of its documents."""
        self.layers, self.tokenizer, self.questions = layers, tokenizer, questions
        self.device = device or torch.device("cpu")
        self.rows_at_once = max(1, TOKENS_AT_ONCE // max(layers.shape[2], 1))

    def to(self, device: torch.device) -> TokenSource:
        """The same file in memory, its blocks given there."""
        return TokenSource(self.layers, self.tokenizer, self.questions, device=device)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``tokens``, ``positions`` and ``next``, (batch, context) int64 each; nothing is foretold where next is -100.

        What comes next is no secret of a language model's input, which is the same text a token earlier.
        """
        rows = self.layers[:, chosen.numpy()].astype(np.int64)
        found = devices.sent(torch.from_numpy(rows), self.device)
        return {"tokens": found[TOKENS], "positions": found[POSITIONS], "next": found[NEXT]}

    def write(self, folder: Path) -> None:
        """The tokenizer, without which a model's numbers are no text."""
        self.tokenizer.save(folder)

    def flat(self, chosen: Positions) -> Flat:
        """Raises: UserError — text has no such form."""
        del chosen
        raise UserError("a baseline of tables cannot read text", hint="evaluate.baseline: token-trigrams")


def load(role: Role, datasets: Sequence[Dataset]) -> Data:
    """Read, pool, split by document, make tokens of the text and pack them.

    Raises: UserError — the data cannot be split, or a question does not fit into the context with its answer.
    """
    table = read(role, datasets)
    found = writings(table, datasets)
    kept = np.asarray([place for place, writing in enumerate(found) if writing], dtype=np.int64)
    written = [writing for writing in found if writing]
    if not written:
        raise UserError(f"no row has a {TEXT}, or a {QUESTION} with its {ANSWER}")
    left_out, table = table.num_rows - len(kept), table.take(pa.array(kept))
    groups = data.group_rows(table, role.columns)
    sizes = np.asarray([len(writing.text) for writing in written], dtype=np.float32)
    split = data.split_rows(table, role, groups=groups, target=sizes)
    tokenizer = tokenizer_of(role, [written[place] for place in split.train])
    passages = as_passages(written, tokenizer, groups)
    notes = refuse_too_long(role, written, passages)
    return packed(
        role,
        _Read(written, passages, groups, split, table.column(data.OWNER).to_numpy()),
        tokenizer,
        left_out=left_out,
        notes=notes,
    )


def read(role: Role, datasets: Sequence[Dataset]) -> pa.Table:
    """The rows of all datasets with their three columns of text."""
    known = {column.name for item in datasets for column in item.manifest.columns}
    named = [name for name in (TEXT, QUESTION, ANSWER) if name in known]
    if not named:
        raise UserError(f"no dataset has a column bound to {TEXT}, {QUESTION} or {ANSWER}")
    columns = replace(role.columns, target=named[0], texts=(TEXT, QUESTION, ANSWER))
    return data.pool(datasets, columns)


def writings(table: pa.Table, datasets: Sequence[Dataset]) -> list[Writing | None]:
    """What each row gives to learn; None: nothing."""
    columns = [table.column(name).cast(pa.string()).to_pylist() for name in (TEXT, QUESTION, ANSWER)]
    of = table.column(data.DATASET).to_numpy()
    first = np.searchsorted(of, np.arange(len(datasets)))  # the datasets follow each other
    found: list[Writing | None] = []
    for row, (text, question, answer) in enumerate(zip(*columns, strict=True)):
        place = f"{datasets[of[row]].ref} row {row - first[of[row]] + 1}"
        found.append(_writing((text or "").strip(), (question or "").strip(), (answer or "").strip(), place))
    return found


def _writing(text: str, question: str, answer: str, place: str) -> Writing | None:
    if question and answer:
        return Writing(text=f" {answer}", prompt=prompt_of(question, passage=text), place=place)
    return Writing(text=text, prompt="", place=place) if text and not question and not answer else None


def prompt_of(question: str, *, passage: str = "") -> str:
    """How a question is put to a model, in training and ever after; its answer follows a space."""
    return (f"{passage}\n\n" if passage else "") + f"Question: {question}\nAnswer:"


def tokenizer_of(role: Role, training: Sequence[Writing]) -> Tokenizer:
    """The one beside the weights; where there are none, one that is learnt from the training part alone."""
    if BASE in role.weights:
        return tokenizing.of_base(Path(role.weights[BASE]))
    texts = (writing.prompt + writing.text for writing in training)
    return tokenizing.learn(texts, vocabulary=int(role.samples["vocabulary"]))


def as_passages(written: Sequence[Writing], tokenizer: Tokenizer, groups: npt.NDArray[np.int64]) -> list[Passage]:
    """Prompt and text as tokens, each by itself, so that it is known where an answer begins."""
    prompts = tokenizer.encode([writing.prompt for writing in written])
    texts = tokenizer.encode([writing.text for writing in written])
    begin, end = (np.asarray([token], dtype=np.int32) for token in (tokenizer.begin, tokenizer.end))
    return [
        Passage(tokens=np.concatenate([begin, prompt, text, end]), asked=1 + len(prompt), group=int(group))
        for prompt, text, group in zip(prompts, texts, groups, strict=True)
    ]


def refuse_too_long(role: Role, written: Sequence[Writing], passages: Sequence[Passage]) -> tuple[str, ...]:
    """A sentence on what is left out, where the recipe allows it.

    Raises: UserError — it does not: nothing is cut in silence.
    """
    context = int(role.samples["context"])
    places = token_blocks.too_long(passages, context)
    if not places:
        return ()
    text = f"{len(places):,} question(s) with their answers are longer than the context of {context} tokens"
    if role.samples.get("too_long") == "drop":
        return (f"{text} and were left out.",)
    told = ", ".join(f"{written[place].place} ({passages[place].size})" for place in places[:TOLD])
    longest = max(passages[place].size for place in places)
    raise UserError(
        f"{text}: {told}" + (", …" if len(places) > TOLD else ""),
        hint=f"raise data.{role.name}.contract.samples.context to {longest}, or set its too_long to drop",
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of the data, before it is packed."""

    written: Sequence[Writing]
    passages: Sequence[Passage]
    groups: npt.NDArray[np.int64]
    split: Split
    owners: npt.NDArray[Any]


def packed(role: Role, found: _Read, tokenizer: Tokenizer, *, left_out: int, notes: tuple[str, ...]) -> Data:
    """Training blocks are filled from all documents; one of the other parts holds a single document, so that figures
    can be redrawn document by document."""
    context = int(role.samples["context"])
    dropped = set(token_blocks.too_long(found.passages, context))
    rows = {part: [int(row) for row in found.split.part(part) if row not in dropped] for part in splitting.PARTS}
    parts = [[found.passages[row] for row in rows[part]] for part in splitting.PARTS]
    blocks, counts = token_blocks.pack(parts, context, apart=[part != "train" for part in splitting.PARTS])
    edges = np.cumsum([0, *counts])
    split = Split(**{part: np.arange(edges[n], edges[n + 1]) for n, part in enumerate(splitting.PARTS)})
    learnt = blocks.learnt.astype(np.float32)
    owner_of = dict(zip(found.groups.tolist(), found.owners.tolist(), strict=True))
    asked = {part: questions(found, rows[part], context) for part in splitting.PARTS}
    return Data(
        spec=spec_of(role, tokenizer, learnt[split.train]),
        split=split,
        groups=blocks.group,
        owners=np.asarray([owner_of[group] for group in blocks.group.tolist()]),
        source=TokenSource(blocks.layers, tokenizer, asked),
        target=learnt,
        left_out=left_out,
        notes=notes,
    )


def spec_of(role: Role, tokenizer: Tokenizer, learnt: npt.NDArray[np.float32]) -> FeatureSpec:
    """The numbers that a network is made by, and the mean count of learnt tokens, by which a loss is divided."""
    return FeatureSpec(
        numeric=(),
        categorical=(),
        target=TEXT,
        output="tokens",
        samples={
            "kind": "tokens",
            "context": int(role.samples["context"]),
            "vocabulary": tokenizer.vocabulary,
            "begin": tokenizer.begin,
            "end": tokenizer.end,
        },
        target_mean=float(learnt.mean()),
        target_std=float(learnt.std()) or 1.0,
    )


def questions(found: _Read, rows: Sequence[int], context: int) -> list[Question]:
    """What is asked in these rows."""
    return [
        Question(
            prompt=passage.tokens[: passage.asked],
            answer=found.written[row].text.strip(),
            room=min(ANSWER_TOKENS, context - passage.asked + 1),
            group=passage.group,
        )
        for row in rows
        if (passage := found.passages[row]).is_pair
    ]
