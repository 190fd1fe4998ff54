"""What a model is asked about: read whatever its spelling, or refused, and never kept as one more measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia.catalogue import Catalogue
from forgia.dataset import ingest, mapping
from forgia.dataset.binding import bind
from forgia.dataset.ingest import Terms
from forgia.dataset.kinds import look
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load(Catalogue())
Add = Callable[..., dict[str, list[Any]]]


@pytest.fixture
def add(tmp_path: Path, home: HomePaths) -> Add:
    """Import a file of a torque and one column more, and read it back."""

    def run(header: str, *values: str, **said: Any) -> dict[str, list[Any]]:
        path = tmp_path / "export.csv"
        rows = "".join(f"{300 + place};{value}\n" for place, value in enumerate(values))
        path.write_text(f"Torque [Nm];{header}\n{rows}", encoding="utf-8")
        terms = Terms(**{"keep_unbound": True, **said})
        dataset = ingest.add(home, "set", [path], owner="x", vocabulary=VOCABULARY, terms=terms).dataset
        found: dict[str, list[Any]] = dataset.to_table().to_pydict()
        return {name: column for name, column in found.items() if name != "torque"}

    return run


@pytest.mark.parametrize(
    "values",
    [
        ("0,0", "1,0", "0,0"),
        ("0.0", "1.000", "0.0"),
        ("0", "+1,00", "0,"),
        ("normal", "anomaly", "NORMAL"),
        ("normale", "anomalia", "normale"),
        ("ok", "KO", "ok"),
    ],
)
def test_a_label_is_read_however_it_is_spelled(add: Add, values: tuple[str, ...]) -> None:
    assert add("anomaly", *values) == {"anomaly": [False, True, False]}


@pytest.mark.parametrize(
    ("header", "concept"),
    [
        ("changepoint_label", "changepoint"),
        ("is_anomaly", "anomaly"),
        ("Anomaly flag", "anomaly"),
        ("anomaly_label 2", "anomaly"),
        ("Labels: failure", "machine_failure"),
        ("outliers", "anomaly"),
        ("etichetta difetto", "defect"),
        ("faulty", "machine_failure"),
    ],
)
def test_words_around_a_labels_name_change_nothing(header: str, concept: str) -> None:
    found = bind({header: look(["0", "1"], decimal=".", thousands="")}, VOCABULARY)
    assert [one.concept and one.concept.id for one in found.bound] == [concept]


@pytest.mark.parametrize(("header", "concept"), [("RUL", "remaining_cycles"), ("rul [h]", "remaining_useful_life")])
def test_what_is_left_is_counted_in_cycles_unless_a_unit_says_otherwise(header: str, concept: str) -> None:
    found = bind({header: look(["10", "9"], decimal=".", thousands="")}, VOCABULARY)
    assert [one.concept and one.concept.id for one in found.bound] == [concept]


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("label", ("0", "1", "0")),
        ("Labels", ("0", "1", "0")),
        ("target", ("0", "1", "0")),
        ("class", ("good one", "bad one", "good one")),
        ("anomaly", ("-1", "1", "1")),
        ("anomaly", ("1", "1,0", "-1,0")),
        ("anomaly", ("up", "down", "up")),
        ("anomaly", ("3", "4", "5")),
        ("remaining_cycles", ("many", "few", "few")),
        ("remaining useful life", ("10", "9", "8")),
    ],
)
def test_a_label_that_does_not_fit_is_never_kept(add: Add, header: str, values: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="name what a model is asked about, and are not kept") as caught:
        add(header, *values)
    assert [problem.field for problem in caught.value.problems] == [header]
    assert "ignore: true" in str(caught.value.hint)


@pytest.mark.parametrize(("header", "values"), [("anomaly", ("-1", "1", "1")), ("label", ("1", "-1", "1"))])
def test_the_offered_mapping_says_which_value_is_the_yes(
    add: Add, tmp_path: Path, header: str, values: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match="could not be bound") as caught:
        add(header, *values, keep_unbound=False)
    file = tmp_path / "mapping.yaml"
    file.write_text(str(caught.value.hint).split("\n\n", 1)[1], encoding="utf-8")
    entries = mapping.load(file, VOCABULARY)
    assert entries[header].true_values == ("-1",)
    assert add(header, *values, mapping=entries) == {"anomaly": [value == "-1" for value in values]}
    assert add(header, *values, mapping={header: mapping.Entry(ignore=True)}) == {}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [("{concept: torque, true_values: [1]}", "a yes or a no"), ("{concept: anomaly, true_values: up}", "a list")],
)
def test_true_values_are_of_a_yes_or_a_no(tmp_path: Path, entry: str, complaint: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(f"columns: {{A: {entry}}}\n")
    with pytest.raises(UserError, match=complaint):
        mapping.load(file, VOCABULARY)


@pytest.mark.parametrize("header", ["Target temperature [K]", "label printer speed", "isolated", "Classe energetica"])
def test_other_columns_are_no_labels(header: str) -> None:
    found = bind({header: look(["310", "320"], decimal=".", thousands="")}, VOCABULARY, keep_unbound=True)
    assert [one.concept for one in found.bound] == [None]


def test_names_of_states_stay_a_category(add: Add) -> None:
    assert add("Strange", "normal", "fault", "normal") == {"strange": ["normal", "fault", "normal"]}
