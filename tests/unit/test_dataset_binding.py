"""Headers to concepts: bound where words and unit decide, asked where not."""

from __future__ import annotations

import pytest

from forgia.catalogue import Catalogue
from forgia.dataset.binding import Binding, Bindings, bind
from forgia.dataset.kinds import Look
from forgia.dataset.mapping import Entry, load
from forgia.dataset.naming import column_names
from forgia.errors import UserError
from forgia.vocabulary import Vocabulary

NUMBER = Look(kind="number", low=20, high=80, numeric_share=1.0, example="20")
WORDS = Look(kind="category", example="alta", words=frozenset(("alta", "bassa")))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def only(found: Bindings) -> Binding:
    assert not found.questions
    return found.bound[0]


@pytest.mark.parametrize(
    ("header", "concept", "unit"),
    [
        ("Torque [Nm]", "torque", "Nm"),
        ("Temperatura aria (°C)", "air_temperature", "°C"),
        ("temp_proc_F", "process_temperature", "F"),
        ("Velocità_rpm", "rotational_speed", "rpm"),
        ("Velocità [m/s]", "linear_speed", "m/s"),
        ("rpm", "rotational_speed", "rpm"),
        ("Usura utensile [min]", "tool_wear", "min"),
        ("Usura utensile [mm]", "flank_wear", "mm"),
        ("TempMotore2 (°C)", "motor_temperature", "°C"),
        ("Umidità rel. [%]", "relative_humidity", "%"),
        ("Vibrazione [mm/s]", "vibration_velocity", "mm/s"),
    ],
)
def test_words_and_unit_name_the_concept(vocabulary: Vocabulary, header: str, concept: str, unit: str) -> None:
    found = only(bind({header: NUMBER}, vocabulary))
    assert found.concept is not None
    assert (found.concept.id, found.unit) == (concept, unit)
    assert 0.8 <= found.confidence <= 1.0


@pytest.mark.parametrize("header", ["Vibrazione", "Corrente", "Livello", "Foo", "Posizione A", "Temperatura"])
def test_what_words_and_unit_leave_open_is_a_question(vocabulary: Vocabulary, header: str) -> None:
    found = bind({header: NUMBER}, vocabulary)
    assert [question.header for question in found.questions] == [header]
    assert header in found.mapping_text()


@pytest.mark.parametrize("header", ["Torque [bar]", "Torque_bar", "Machine failure [K]"])
def test_a_unit_that_contradicts_its_concept_is_refused(vocabulary: Vocabulary, header: str) -> None:
    with pytest.raises(UserError) as caught:
        bind({header: NUMBER}, vocabulary, path="f.csv")
    assert caught.value.problems[0].field == header
    assert "--mapping" in str(caught.value.hint)


def test_a_mapping_corrects_a_wrong_unit(vocabulary: Vocabulary) -> None:
    found = only(bind({"Torque [bar]": NUMBER}, vocabulary, mapping={"Torque [bar]": Entry(unit="N.m")}))
    assert (found.concept and found.concept.id, found.unit, found.how) == ("torque", "N.m", "mapping")


def test_values_that_cannot_be_the_concept_are_a_question(vocabulary: Vocabulary) -> None:
    found = bind({"Torque [Nm]": WORDS}, vocabulary)
    assert "'alta'" in found.questions[0].why


def test_a_person_is_asked_and_believed(vocabulary: Vocabulary) -> None:
    found = bind({"Foo": NUMBER}, vocabulary, ask=lambda question: Entry(concept="torque", unit="Nm"))
    assert only(found).how == "mapping"


def test_a_mapping_for_a_column_that_is_not_there_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(UserError, match="did you mean 'UDI'"):
        bind({"UDI": NUMBER}, vocabulary, mapping={"UDJ": Entry(ignore=True)})


def test_a_kept_column_never_takes_a_concepts_name(vocabulary: Vocabulary) -> None:
    found = bind({"Torque": NUMBER, "2 X": NUMBER}, vocabulary, keep_unbound=True)
    assert column_names(found.bound, vocabulary) == ["torque_unbound", "column_2_x"]


def test_a_concept_met_twice_gets_a_number(vocabulary: Vocabulary) -> None:
    found = bind({"Temp motore 1 [°C]": NUMBER, "Temp motore 2 [°C]": NUMBER}, vocabulary)
    assert column_names(found.bound, vocabulary) == ["motor_temperature", "motor_temperature_2"]


def test_the_offered_mapping_file_can_be_read_back(vocabulary: Vocabulary, tmp_path) -> None:
    looks = {"Foo": NUMBER, "Corrente": NUMBER, 'A "b": c': WORDS, "Vibrazione": NUMBER}
    file = tmp_path / "mapping.yaml"
    file.write_text(bind(looks, vocabulary).mapping_text(), encoding="utf-8")
    assert not bind(looks, vocabulary, mapping=load(file, vocabulary)).questions


def test_every_mistake_of_a_mapping_file_is_told(vocabulary: Vocabulary, tmp_path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text("columns:\n  A: {concept: torqe}\n  B: {unit: parsecs per x}\n  C: {keep: colour}\n  D: 3\n")
    with pytest.raises(UserError) as caught:
        load(file, vocabulary)
    assert [problem.field for problem in caught.value.problems] == ["columns.A", "columns.B", "columns.C", "columns.D"]
