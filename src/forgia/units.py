"""Units as people write them, converted exactly; pint does the algebra and is loaded on first use.

One text can mean several units (``nm`` is a nanometre in a physics book and a newton metre on a press, ``1/min`` a
frequency or a rotational speed), so a text has *candidates* and two texts convert through the first pair that agrees
in dimension. Revolutions are a dimension of their own here: pint counts a revolution as 2π, which would make
1 Hz ≠ 60 rpm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from tokenize import TokenError
from typing import Any

from forgia.errors import UserError

DIMENSIONLESS = "1"
"""How a canonical unit says that the concept has none (UCUM's unity)."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "°C": ("degC",),
    "ºC": ("degC",),
    "℃": ("degC",),
    "Cel": ("degC",),
    "C": ("degC", "coulomb"),
    "degC": ("degC",),
    "deg C": ("degC",),
    "gradi": ("degC", "degree"),
    "gradi C": ("degC",),
    "celsius": ("degC",),
    "°F": ("degF",),
    "℉": ("degF",),
    "degF": ("degF",),
    "[degF]": ("degF",),
    "F": ("degF", "farad"),
    "fahrenheit": ("degF",),
    "°K": ("kelvin",),
    "K": ("kelvin",),
    "kelvin": ("kelvin",),
    "°": ("degree",),
    "deg": ("degree",),
    "rpm": ("revolution_per_minute",),
    "RPM": ("revolution_per_minute",),
    "r/min": ("revolution_per_minute",),
    "rev/min": ("revolution_per_minute",),
    "U/min": ("revolution_per_minute",),
    "giri/min": ("revolution_per_minute",),
    "giri/1'": ("revolution_per_minute",),
    "giri/minuto": ("revolution_per_minute",),
    "giri al minuto": ("revolution_per_minute",),
    "giri": ("revolution_per_minute", "turn_count"),
    "g/min": ("gram/minute", "revolution_per_minute"),
    "1/min": ("1/minute", "revolution_per_minute"),
    "/min": ("1/minute", "revolution_per_minute"),
    "min-1": ("1/minute", "revolution_per_minute"),
    "rps": ("revolution_per_second",),
    "rev/s": ("revolution_per_second",),
    "giri/s": ("revolution_per_second",),
    "1/s": ("1/second", "revolution_per_second"),
    "s-1": ("1/second", "revolution_per_second"),
    "Hz": ("1/second", "revolution_per_second"),
    "kHz": ("1000/second",),
    "1/h": ("1/hour",),
    "rad/s": ("revolution_radian/second",),
    "deg/s": ("revolution_degree/second",),
    "°/s": ("revolution_degree/second",),
    "Nm": ("newton*meter",),
    "nm": ("nanometer", "newton*meter"),
    "NM": ("newton*meter",),
    "N*m": ("newton*meter",),
    "N m": ("newton*meter",),
    "kNm": ("kilonewton*meter",),
    "mNm": ("millinewton*meter",),
    "Ncm": ("newton*centimeter",),
    "kgm": ("kgf*meter",),
    "g": ("gram", "standard_gravity"),
    "mg": ("milligram", "0.001*standard_gravity"),
    "gn": ("standard_gravity",),
    "G": ("standard_gravity",),
    "h": ("hour",),
    "hr": ("hour",),
    "hrs": ("hour",),
    "ora": ("hour",),
    "ore": ("hour",),
    "hours": ("hour",),
    "min": ("minute",),
    "mins": ("minute",),
    "minuti": ("minute",),
    "minutes": ("minute",),
    "s": ("second",),
    "sec": ("second",),
    "secondi": ("second",),
    "d": ("day",),
    "gg": ("day",),
    "giorni": ("day",),
    "days": ("day",),
    "l": ("liter",),
    "L": ("liter",),
    "lt": ("liter",),
    "litri": ("liter",),
    "lpm": ("liter/minute",),
    "cfm": ("foot**3/minute",),
    "gpm": ("gallon/minute",),
    "mc/h": ("meter**3/hour",),
    "m": ("meter",),
    "M": ("meter",),
    "mm": ("millimeter",),
    "um": ("micrometer",),
    "µm": ("micrometer",),
    "μm": ("micrometer",),
    "micron": ("micrometer",),
    '"': ("inch",),
    "in": ("inch",),
    "m3": ("meter**3",),
    "mc": ("meter**3",),
    "mbar": ("millibar",),
    "barg": ("bar",),
    "bara": ("bar",),
    "Bar": ("bar",),
    "BAR": ("bar",),
    "PSI": ("psi",),
    "KPa": ("kilopascal",),
    "Mpa": ("megapascal",),
    "MPA": ("megapascal",),
    "N/mm2": ("newton/millimeter**2",),
    "kg/cm2": ("kgf/centimeter**2",),
    "mmH2O": ("mmH2O",),
    "KW": ("kilowatt",),
    "Kw": ("kilowatt",),
    "kw": ("kilowatt",),
    "w": ("watt",),
    "CV": ("metric_horsepower",),
    "cv": ("metric_horsepower",),
    "hp": ("mechanical_horsepower",),
    "HP": ("mechanical_horsepower",),
    "KWh": ("kilowatt*hour",),
    "Kwh": ("kilowatt*hour",),
    "kwh": ("kilowatt*hour",),
    "kWh": ("kilowatt*hour",),
    "Wh": ("watt*hour",),
    "MWh": ("megawatt*hour",),
    "VA": ("volt*ampere",),
    "kVA": ("kilovolt*ampere",),
    "VAR": ("volt*ampere",),
    "var": ("volt*ampere",),
    "kvar": ("kilovolt*ampere",),
    "Smc": ("meter**3",),
    "Nm3": ("meter**3",),
    "Nm3/h": ("meter**3/hour",),
    "Nl/min": ("liter/minute",),
    "NL/min": ("liter/minute",),
    "v": ("volt",),
    "a": ("ampere",),
    "Amp": ("ampere",),
    "amp": ("ampere",),
    "Volt": ("volt",),
    "dB(A)": ("sound_decibel",),
    "dBA": ("sound_decibel",),
    "db": ("sound_decibel",),
    "dB": ("sound_decibel",),
    "%": ("percent",),
    "perc": ("percent",),
    "percent": ("percent",),
    "% RH": ("percent",),
    "%RH": ("percent",),
    "%UR": ("percent",),
    "% UR": ("percent",),
    "ppm": ("ppm",),
    "1": ("dimensionless",),
    "-": ("dimensionless",),
    "ratio": ("dimensionless",),
    "kg": ("kilogram",),
    "Kg": ("kilogram",),
    "t": ("tonne",),
    "cSt": ("centistokes",),
    "mm2/s": ("millimeter**2/second",),
    "uS/cm": ("microsiemens/centimeter",),
    "µS/cm": ("microsiemens/centimeter",),
    "pz/h": ("turn_count/hour",),
    "pcs/h": ("turn_count/hour",),
    "pezzi/h": ("turn_count/hour",),
    "pz": ("turn_count",),
    "pcs": ("turn_count",),
    "€": ("euro",),
    "EUR": ("euro",),
    "eur": ("euro",),
}
"""What shop-floor headers say, in Italian and English, beside what pint and UCUM know; the likeliest meaning first.

Source: UCUM 2.2 case-sensitive codes (https://ucum.org/ucum) for Cel, [degF], 1/min, N.m, m3, l.
"""

DEFINITIONS = (
    "turn = [rotation]",
    "revolution_per_minute = turn / minute",
    "revolution_per_second = turn / second",
    "revolution_radian = turn / 6.283185307179586",
    "revolution_degree = turn / 360",
    "turn_count = [count]",
    "sound_decibel = [sound_level]",
    "euro = [currency]",
)
_POWER = re.compile(r"([A-Za-zµμΩ%])(-?\d)")
_BRACKETS = re.compile(r"^(?P<label>.*?)\s*[\[({<](?P<unit>[^\[\](){}<>]*(?:\([^()]*\))?)[\])}>]\s*$")
_ALLOWED = re.compile(r"(?=.*[^\W\d_]|.*%)[\w%°µμΩ*/.\s-]+")
_SUPERSCRIPTS = str.maketrans("²³⁻¹", "23-1")
_SEPARATED = re.compile(r"^(?P<label>.*?)(?:\s*,\s+|\s+/\s+|[_\s]+|\s+in\s+)(?P<unit>[^\s_,]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """``target = source × scale + offset``."""

    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.scale == 1.0 and self.offset == 0.0

    def __call__(self, value: float) -> float:
        """One value in the target unit."""
        return value * self.scale + self.offset


def is_known(text: str) -> bool:
    """Whether the text names a unit."""
    return bool(candidates(text))


def conversion(source: str, target: str) -> Conversion:
    """How values in ``source`` become values in ``target``.

    Raises: UserError — one of them is no unit, or they measure different things.
    """
    if source == target:
        return Conversion()
    for text in (source, target):
        if not candidates(text):
            raise UserError(f"{text!r} is no unit forgia knows", hint="write it as in UCUM, such as N.m, Cel, mm/s")
    for one in candidates(source):
        for other in candidates(target):
            if one.dimensionality == other.dimensionality:
                return _between(one, other)
    raise UserError(f"{source!r} and {target!r} measure different things")


def are_compatible(source: str, target: str) -> bool:
    """Whether both texts name units of one dimension."""
    dimensions = [unit.dimensionality for unit in candidates(target)]
    return any(unit.dimensionality in dimensions for unit in candidates(source))


@cache
def candidates(text: str) -> tuple[Any, ...]:
    """The units (pint's) this text can mean, the likeliest first; empty where it means none."""
    tidy = text.strip()
    spellings = SPELLINGS.get(tidy) or SPELLINGS.get(tidy.translate(_SUPERSCRIPTS).replace("^", "").replace(".", "*"))
    expressions = spellings or (_expression(tidy),)
    return tuple(unit for unit in map(_parse, expressions) if unit is not None)


def split_header(header: str) -> tuple[str, str | None]:
    """The label and the bracketed unit of a header such as ``Torque [Nm]``; the unit is None where there is none.

    Brackets that hold no unit (``Pressione (linea 2)``) stay part of the label.
    """
    match = _BRACKETS.match(header.strip())
    if match and match["label"].strip(" _-"):
        unit = match["unit"].strip()
        if is_known(unit):
            return match["label"].strip(" _-"), unit
    return header.strip(), None


def split_trailing(label: str) -> tuple[str, str] | None:
    """Label and unit of a header whose last word is a unit, such as ``Velocità_rpm`` or ``Coppia, Nm``.

    Only a hint: ``Phase A`` looks the same, so the caller checks the dimension against the concept.
    """
    match = _SEPARATED.match(label)
    if match and match["label"].strip() and is_known(match["unit"]):
        return match["label"].strip(" _-,/"), match["unit"]
    words = label.rsplit(maxsplit=3)
    for count in (3, 2):
        unit = " ".join(words[-count:])
        if len(words) > count and unit in SPELLINGS:
            return " ".join(words[:-count]), unit
    return None


def _expression(text: str) -> str:
    """A text as pint wants it: UCUM's dots and exponents spelled out.

    >>> _expression("kg/m³"), _expression("N.m")
    ('kg/m**3', 'N*m')
    """
    plain = text.translate(_SUPERSCRIPTS).replace("^", "").replace("**", "").replace("·", "*").replace("⋅", "*")
    plain = re.sub(r"(?<=[A-Za-z0-9])[.-](?=[A-Za-z])", "*", plain).replace("l/", "liter/")
    return _POWER.sub(r"\1**\2", plain)


def _parse(expression: str) -> Any:
    """The unit (pint's) of an expression such as ``newton*meter`` or ``1000/second``; None where it is none."""
    import pint

    if len(expression) > 40 or not _ALLOWED.fullmatch(expression):
        return None
    try:
        quantity = _registry().parse_expression(expression)
        if not hasattr(quantity, "units"):
            return None
        return quantity.units if quantity.magnitude == 1 else _scaled(quantity)
    except (pint.PintError, TokenError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError):
        return None


def _scaled(quantity: Any) -> Any:
    """A unit of its own for a number times a unit."""
    name = "scaled_" + re.sub(r"\W+", "_", str(quantity))
    if name not in _registry():
        _registry().define(f"{name} = {quantity.magnitude} * {quantity.units}")
    return _registry().Unit(name)


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry()
    for line in DEFINITIONS:
        registry.define(line)
    return registry


def _between(source: Any, target: Any) -> Conversion:
    """The affine map between two units of one dimension; a temperature's scale comes from its exact delta unit."""
    registry = _registry()
    if str(source) == str(target):
        return Conversion()
    one, other = (registry.Unit(_DELTAS.get(str(unit), str(unit))) for unit in (source, target))
    scale = registry.Quantity(1.0, one).to(other).magnitude
    offset = registry.Quantity(0.0, source).to(target).magnitude
    return Conversion(scale=float(scale), offset=round(float(offset), 12))


_DELTAS = {"degree_Celsius": "delta_degree_Celsius", "degree_Fahrenheit": "delta_degree_Fahrenheit"}
