"""Units as headers spell them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import units
from forgia.errors import UserError


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("°C", "K", 25.0, 298.15),
        ("Cel", "K", -273.15, 0.0),
        ("°F", "K", 212.0, 373.15),
        ("rpm", "1/min", 1500.0, 1500.0),
        ("giri/min", "1/min", 1500.0, 1500.0),
        ("Hz", "1/min", 25.0, 1500.0),
        ("rad/s", "1/min", 2 * math.pi, 60.0),
        ("Nm", "N.m", 40.0, 40.0),
        ("nm", "N.m", 40.0, 40.0),
        ("ft·lbf", "N.m", 1.0, 1.3558179483314),
        ("g", "m/s2", 1.0, 9.80665),
        ("g", "kg", 1.0, 0.001),
        ("m³/h", "l/min", 0.06, 1.0),
        ("kWh", "J", 1.0, 3.6e6),
        ("%", "1", 50.0, 0.5),
        ("ore", "min", 1.0, 60.0),
        ("PSI", "bar", 1.0, 0.0689475729317),
    ],
)
def test_a_value_arrives_in_the_target_unit(source: str, target: str, value: float, expected: float) -> None:
    assert units.conversion(source, target)(value) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    st.floats(-1e6, 1e6), st.sampled_from([("°C", "K"), ("°F", "K"), ("°F", "°C"), ("bar", "psi"), ("rad/s", "1/min")])
)
def test_there_and_back_is_the_same_value(value: float, pair: tuple[str, str]) -> None:
    there, back = units.conversion(*pair), units.conversion(pair[1], pair[0])
    assert back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-6)


def test_a_degree_of_difference_stays_exact() -> None:
    assert units.conversion("°C", "K") == units.Conversion(scale=1.0, offset=273.15)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Torque [Nm]", ("Torque", "Nm")),
        ("Temperatura (°C)", ("Temperatura", "°C")),
        ("Rumore [dB(A)]", ("Rumore", "dB(A)")),
        ("Pressione (linea 2)", ("Pressione (linea 2)", None)),
        ("[K]", ("[K]", None)),
        ("UDI", ("UDI", None)),
    ],
)
def test_a_header_gives_up_its_bracketed_unit(header: str, expected: tuple[str, str | None]) -> None:
    assert units.split_header(header) == expected


@pytest.mark.parametrize("header", ["Velocità_rpm", "Velocità, rpm", "Velocità / rpm", "Velocità rpm"])
def test_a_header_may_end_in_its_unit(header: str) -> None:
    assert units.split_trailing(header) == ("Velocità", "rpm")


def test_different_things_do_not_convert() -> None:
    with pytest.raises(UserError, match="different things"):
        units.conversion("bar", "N.m")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_units(text: str) -> None:
    assert isinstance(units.candidates(text), tuple)
    label, unit = units.split_header(text)
    assert unit is None or unit in text
    assert label.strip() in text
    assert units.split_trailing(text) is None or "".join(text.split()) != ""
