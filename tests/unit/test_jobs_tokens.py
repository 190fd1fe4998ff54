"""From rows of text to blocks of tokens: what is learnt, what is refused, and what the counting baseline says."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from forgia import splitting
from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary
from forgia_jobs.judging import answering, scores, trigrams
from forgia_jobs.request import Columns, Evaluate, Gate, Role, SplitRule
from forgia_jobs.samples import loading
from forgia_jobs.samples.data import Data
from forgia_jobs.samples.tokens import TokenSource
from forgia_jobs.text import tokenizing
from forgia_jobs.text.token_blocks import NEXT, NOT_LEARNT

HEADER = ("document", "text", "question", "answer")
SENTENCES = ("tighten the nut to 40 Nm", "drain the air dryer", "replace the encoder cable", "refill the tank")


def rows(count: int = 24) -> list[tuple[str, str, str, str]]:
    """A text and a question a document; each document has a word of its own."""
    found = []
    for number in range(count):
        said = SENTENCES[number % len(SENTENCES)]
        found.append((f"d{number}", f"machine own{number}q: {said}. " * (1 + number % 3), "", ""))
        found.append((f"d{number}", "", f"what about own{number}q?", said))
    return found


def dataset(home: HomePaths, found: Sequence[tuple[str, str, str, str]], *, name: str = "manuals") -> Dataset:
    path = home.root.parent / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *found])
    return ingest.add(home, name, [path], owner="mill", vocabulary=Vocabulary.load(Catalogue())).dataset


def role(**samples: Any) -> Role:
    wanted = {"kind": "tokens", "context": 64, "vocabulary": 300, "too_long": "refuse", **samples}
    return Role(
        name="documents",
        datasets=(),
        columns=Columns(numeric=(), categorical=(), target="text", group="document_id"),
        units={},
        split=SplitRule(by="group", fractions=(0.6, 0.2, 0.2)),
        samples=wanted,
        output="tokens",
    )


def source(data: Data) -> TokenSource:
    return cast(TokenSource, data.source)


def learnt(data: Data, part: str) -> list[int]:
    ahead = source(data).layers[NEXT, data.split.part(part)]
    return cast("list[int]", ahead[ahead != NOT_LEARNT].tolist())


def texts(data: Data) -> Mapping[str, str]:
    return {part: source(data).tokenizer.decode(learnt(data, part)) for part in splitting.PARTS}


def test_no_document_is_in_two_parts_and_every_text_is_learnt(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    found = texts(data)
    for number in range(24):
        assert sum(f"own{number}q" in text for text in found.values()) == 1
    assert not set(data.groups[data.split.train]) & set(data.groups[data.split.test])
    assert sum(len(learnt(data, part)) for part in splitting.PARTS) == data.target.sum()


def test_of_a_question_only_the_answer_is_learnt(home: HomePaths) -> None:
    pairs = [(f"d{n}", "the passage" if n % 2 else "", f"why {n}?", f"because of {n}") for n in range(12)]
    found = texts(loading.load(role(), [dataset(home, pairs)]))
    together = " ".join(found.values())
    assert all(f"because of {n}" in together for n in range(12))
    assert not any(word in together for word in ("why", "Question", "Answer", "passage"))


def test_a_batch_gives_what_a_network_sees_and_counts_what_it_foretells(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    batch = data.samples("train", device=torch.device("cpu")).batch(torch.tensor([1, 0]))
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "tokens": (2, 64), "positions": (2, 64), "next": (2, 64), "target": (2,), "weight": (2,),
    }  # fmt: skip
    assert torch.equal((batch["next"] != NOT_LEARNT).sum(1).float(), batch["target"])
    assert data.spec.target_mean == pytest.approx(data.targets("train").mean())


def test_a_question_too_long_for_the_context_is_refused_with_its_place(home: HomePaths) -> None:
    found = [*rows(), ("d3", "", "and " * 80 + "?", "no")]
    item = dataset(home, found)
    with pytest.raises(
        UserError, match=r"1 question\(s\) .* longer than the context of 64 tokens: manuals@1 row 49 \("
    ) as caught:
        loading.load(role(), [item])
    assert "samples.context" in (caught.value.hint or "")
    data = loading.load(role(too_long="drop"), [item])
    assert data.notes == (
        "1 question(s) with their answers are longer than the context of 64 tokens and were left out.",
    )
    assert sum(len(asked) for asked in source(data).questions.values()) == 24


def test_rows_that_say_nothing_are_left_out(home: HomePaths) -> None:
    found = [*rows(), ("d1", "", "a question without an answer", ""), ("d2", "", "", "an answer to nothing")]
    assert loading.load(role(), [dataset(home, found)]).left_out == 2


def test_the_tokenizer_is_learnt_from_the_training_part_alone(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    in_test = next(number for number in range(24) if f"own{number}q" in texts(data)["test"])
    word = f"own{in_test}q"  # another of the same length, so that the parts stay as they are
    changed = [tuple(cell.replace(word, "z" * len(word)) for cell in row) for row in rows()]
    other = loading.load(role(), [dataset(home, cast(Any, changed), name="changed")])
    assert source(data).tokenizer.inner.to_str() == source(other).tokenizer.inner.to_str()


def test_words_of_the_tokenizer_are_plain_text_in_a_document() -> None:
    tokenizer = tokenizing.learn(["some text"], vocabulary=300)
    (ids,) = tokenizer.encode([f"a {tokenizing.END} b"])
    assert tokenizer.end not in ids
    assert tokenizer.decode(ids) == f"a {tokenizing.END} b"


def test_a_saved_tokenizer_is_read_with_the_weights_beside_it(tmp_path: Path) -> None:
    tokenizer = tokenizing.learn(["drain the dryer"] * 3, vocabulary=280)
    tokenizer.save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text('{"vocab_size": 320, "eos_token_id": [0, 5], "bos_token_id": 7}')
    found = tokenizing.of_base(tmp_path)
    assert (found.vocabulary, found.end, found.begin) == (320, 0, 7)
    assert np.array_equal(found.encode(["drain"])[0], tokenizer.encode(["drain"])[0])
    config.write_text('{"vocab_size": 200, "eos_token_id": 0}')
    with pytest.raises(UserError, match="tokens, the network 200 rows"):
        tokenizing.of_base(tmp_path)
    config.write_text('{"vocab_size": 320}')
    with pytest.raises(UserError, match="no eos_token_id"):
        tokenizing.of_base(tmp_path)


def test_counts_give_chances_that_add_up_to_one(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    counted = trigrams.Trigrams(source(data).layers[:, data.split.train], 300)
    every = np.arange(300)
    for before, last in ((0, 0), (70, 80), (299, 5)):
        chances = counted.chances(np.full(300, last), np.full(300, before), every)
        assert chances.sum() == pytest.approx(1.0)
        assert (chances > 0).all()


def test_the_counting_baseline_is_less_surprised_than_chance_and_answers(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    found = trigrams.predictions(data)["test"]
    truth = data.targets("test")
    assert 1.0 < scores.perplexity(found, truth) < 30
    assert found[:, 3].sum() == len(source(data).questions["test"])
    assert 0 <= scores.exact_match(found, truth) <= scores.answer_f1(found, truth) <= 1


@pytest.mark.parametrize(
    ("said", "true", "exact", "overlap"),
    [
        (" 40 Nm.", "40 nm", 1.0, 1.0),
        ("È scarico", "è  scarico!", 1.0, 1.0),
        ("drain the dryer", "drain the air dryer", 0.0, 6 / 7),
        ("no", "drain", 0.0, 0.0),
        ("", "drain", 0.0, 0.0),
    ],
)
def test_answers_are_compared_word_by_word(said: str, true: str, exact: float, overlap: float) -> None:
    assert answering.exact(said, true) == exact
    assert answering.overlap(said, true) == pytest.approx(overlap)


def test_answers_count_at_a_block_of_their_own_document(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, rows())])
    asked = source(data).questions["test"]
    right = {id(question): place == 0 for place, question in enumerate(asked)}
    tokenizer = source(data).tokenizer

    def answer(questions: Sequence[Any]) -> list[list[int]]:
        return [tokenizer.encode([q.answer if right[id(q)] else "wrong"])[0].tolist() for q in questions]

    zeros = np.zeros(len(data.split.test), dtype=np.float32)
    found = answering.with_answers(zeros, data, "test", answer=answer)
    assert scores.exact_match(found, data.targets("test")) == pytest.approx(1 / len(asked))
    groups = data.groups[data.split.test]
    assert groups[int(found[:, 1].argmax())] == asked[0].group


def test_figures_of_answers_go_where_nothing_is_asked(home: HomePaths) -> None:
    data = loading.load(role(), [dataset(home, [row for row in rows() if row[1]])])
    settings = Evaluate(metrics=("perplexity", "exact_match", "answer_f1"), primary="perplexity")
    assert answering.askable(settings, data).metrics == ("perplexity",)
    with pytest.raises(UserError, match="answers decide"):
        answering.askable(replace(settings, gate=Gate(metric="exact_match")), data)
    asked = loading.load(role(), [dataset(home, rows(), name="asked")])
    assert answering.askable(settings, asked) == settings


def test_data_without_any_text_is_refused(home: HomePaths) -> None:
    found = [(f"d{number}", "", f"question {number}", "") for number in range(9)]
    with pytest.raises(UserError, match="no row has a text"):
        loading.load(role(), [dataset(home, found)])
