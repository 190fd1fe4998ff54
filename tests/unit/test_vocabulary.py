"""The shared vocabulary, as it ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgia import units
from forgia.catalogue import Catalogue
from forgia.errors import NotFound, UserError
from forgia.vocabulary import Vocabulary, plain, read


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def test_it_holds_what_machine_data_needs(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.concepts) >= 100
    assert {"torque", "machine_failure", "vibration_velocity", "remaining_useful_life"} <= set(vocabulary.concepts)


def test_every_unit_is_known_and_every_range_is_in_order(vocabulary: Vocabulary) -> None:
    for concept in vocabulary.concepts.values():
        assert concept.unit is None or units.is_known(concept.unit), concept.id
        assert concept.range is None or concept.range[0] < concept.range[1], concept.id


def test_every_concept_has_a_name_that_no_other_has(vocabulary: Vocabulary) -> None:
    for index in (vocabulary.by_id, vocabulary.by_label):
        assert all(len(concepts) == 1 for concepts in index.values())
    assert frozenset() not in vocabulary.by_synonym


def test_words_shared_by_concepts_can_be_told_apart_by_unit(vocabulary: Vocabulary) -> None:
    for words, concepts in vocabulary.by_synonym.items():
        known = [concept.unit for concept in concepts]
        for place, unit in enumerate(known):
            for other in known[place + 1 :]:
                assert unit is None or other is None or not units.are_compatible(unit, other), set(words)


def test_a_semantic_id_names_concept_and_revision(vocabulary: Vocabulary) -> None:
    assert vocabulary.get("torque").semantic_id == "urn:forgia:concept:torque:1"


def test_a_word_is_found_in_either_language(vocabulary: Vocabulary) -> None:
    assert "vibration_velocity" in [concept.id for concept in vocabulary.search("vibrazione")]
    assert "bearing_temperature" in [concept.id for concept in vocabulary.search("CUSCINETTO")]


def test_an_unknown_concept_gets_the_nearest_name(vocabulary: Vocabulary) -> None:
    with pytest.raises(NotFound, match="did you mean torque"):
        vocabulary.get("torqe")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VelocitàRotazione_RPM", "velocita rotazione rpm"),
        ("T. amb.", "t amb"),
        ("TempMotore2", "temp motore 2"),
        ("UDI", "udi"),
    ],
)
def test_names_are_compared_without_dress(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_every_mistake_of_a_vocabulary_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "concepts:\n"
        "  - {id: Bad Id, label: {it: a, en: b}, kind: number, role: measurement}\n"
        "  - {id: one, label: {it: a}, kind: colour, role: measurement, extra: 1}\n"
    )
    with pytest.raises(UserError) as caught:
        read([file])
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["Bad Id.id", "one.extra", "one.kind", "one.label"]
