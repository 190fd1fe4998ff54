"""The generator of manuals and tickets: the same bytes, the same facts, and questions that other documents answer."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from forgia.catalogue import Catalogue
from forgia.vocabulary import Vocabulary

FOLDER = Path(__file__).parents[2] / "datasets" / "manuals-and-tickets"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manuals_generate", FOLDER / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generator: ModuleType, tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in generator.write(tmp_path / name, 30, seed)]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_headers_of_both_firms_bind_to_the_same_concepts(generator: ModuleType) -> None:
    vocabulary = Vocabulary.load(Catalogue())
    for headers in generator.HEADERS.values():
        for header, concept in zip(headers, ("document_id", "text", "question", "answer"), strict=True):
            key = vocabulary.key(header)
            indexes = (vocabulary.by_id, vocabulary.by_label, vocabulary.by_synonym)
            assert concept in [one.id for index in indexes for one in index.get(key, ())], header


@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_question_asks_is_told_by_the_documents_of_other_machines(generator: ModuleType, seed: int) -> None:
    for firm in generator.FIRMS:
        rows = generator.rows_of(firm, 60, seed)
        for asked in (row for row in rows if row.question):
            others = [row.text for row in rows if row.text and row.document != asked.document]
            assert sum(asked.answer in text for text in others) >= 2, asked


def test_no_code_means_two_things(generator: ModuleType) -> None:
    facts = generator.facts_of(generator.FAMILIES)
    assert len(set(facts.codes.values())) == len(facts.codes) == len(generator.FAMILIES) * len(generator.FAULTS)


def test_a_row_is_a_document_or_a_question_with_its_answer(generator: ModuleType) -> None:
    for firm in generator.FIRMS:
        for row in generator.rows_of(firm, 30, 0):
            assert bool(row.text) != bool(row.question and row.answer)
