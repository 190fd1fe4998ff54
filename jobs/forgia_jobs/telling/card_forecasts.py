"""What a card says of a model that foretells the next steps of a series."""

from __future__ import annotations

from forgia import forecasting, series
from forgia.features import FeatureSpec
from forgia.forecasting import Frame

PARTS = ("part", "windows", "weeks of a series", "mean of target")
"""Head of the table of the parts."""
UNITS_OF_TIME = (("h", series.HOUR_US), ("min", 60 * series.SECOND_US), ("s", series.SECOND_US))


def inputs(spec: FeatureSpec) -> tuple[tuple[str, ...], list[list[str]], str]:
    """Head and rows of a table of what the model takes, and a sentence of what it gives."""
    frame = Frame.of(spec)
    step = duration(frame.step_us)
    rows = [
        [f"`{feature.name}`", feature.unit or "", "past and ahead" if feature.name in frame.ahead else "past"]
        for feature in spec.numeric
    ]
    rows += [[f"`{feature.name}`", ", ".join(feature.categories[:8]), "last row"] for feature in spec.categorical]
    holidays = "" if frame.holidays == "none" else f", and the public holidays of {frame.holidays.capitalize()}"
    rows.append(["calendar", f"clock of {frame.time_zone}{holidays}", "past and ahead"])
    names = ", ".join(f"`{name}`" for name in forecasting.quantile_names(spec))
    unit = f" in {spec.target_unit}" if spec.target_unit else ""
    gives = (
        f"From {frame.length} readings, one every {step}, of which {forecasting.SEEN:.0%} must be there, it gives "
        f"`{spec.target}`{unit} of the next {frame.horizon} steps, each as {names}: the shares of outcomes that stay "
        "below. What is known ahead may be missing; `features.json` says how a table becomes its input."
    )
    return ("feature", "unit or values", "known of"), rows, gives


def split() -> str:
    """How nothing leaks from one part into another."""
    return "no moment is an answer in two parts: windows whose answers reach into the next part are in none"


def duration(step_us: int) -> str:
    """In the largest unit that it is a whole number of."""
    unit, size = next((unit, size) for unit, size in UNITS_OF_TIME if step_us % size == 0 or unit == "s")
    return f"{step_us / size:g} {unit}"
